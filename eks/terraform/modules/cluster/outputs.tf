output "name" {
  description = "Name of the cluster in EKS."
  value       = aws_eks_cluster.this.name
}

output "endpoint" {
  description = "API server, reachable from inside the network and from management."
  value       = aws_eks_cluster.this.endpoint
}

output "arn" {
  description = "ARN of the cluster."
  value       = aws_eks_cluster.this.arn
}

output "volume_key_alias_arn" {
  description = "Key of pods' volumes, by its alias, which is known before the key is: storage classes name it in kmsKeyId."
  value       = "arn:aws:kms:${local.region}:${local.account}:alias/${local.name}-volumes"
}

output "registry" {
  description = "Registry that nodes pull from; the overlays' images stand below it."
  value       = "${local.account}.dkr.ecr.${local.region}.amazonaws.com"
}

output "fronts" {
  description = "Tag Name of the security group of each load balancer, for the annotations in the overlay."
  value       = { for name, group in aws_security_group.front : name => group.tags.Name }
}

output "pools" {
  description = "Node pools, by the label triad.dev/pool: zones by number, nodes a zone, whether it is tainted."
  value       = { for name, p in var.pools : name => { zones = p.zones, size = p.size, tainted = p.tainted } }
}

output "public_access" {
  description = "Whether the API server has a public address."
  value       = aws_eks_cluster.this.vpc_config[0].endpoint_public_access
}

output "private_access" {
  description = "Whether the API server has a private address."
  value       = aws_eks_cluster.this.vpc_config[0].endpoint_private_access
}

output "log_types" {
  description = "Logs of the control plane that are kept."
  value       = sort(aws_eks_cluster.this.enabled_cluster_log_types)
}

# --- what the tests compare with manifests/flows.yaml, read back from the resources ---

output "rules" {
  description = "All rules of all groups that this module makes: direction, group, protocol, port, and other end."
  value = {
    flow_ingress = { for key, r in aws_vpc_security_group_ingress_rule.flow : key => {
      group = var.ingress[key].front, protocol = r.ip_protocol, from = r.from_port, to = r.to_port, cidr = r.cidr_ipv4, description = r.description
    } }
    flow_egress = { for key, r in aws_vpc_security_group_egress_rule.flow : key => {
      group = "nodes", protocol = r.ip_protocol, from = r.from_port, to = r.to_port, cidr = r.cidr_ipv4, description = r.description
    } }
    front_to_pods   = { for key, r in aws_vpc_security_group_egress_rule.front_to_pods : key => { from = r.from_port, to = r.to_port } }
    pods_from_front = { for key, r in aws_vpc_security_group_ingress_rule.pods_from_front : key => { from = r.from_port, to = r.to_port } }
    management      = [for r in aws_vpc_security_group_ingress_rule.api_from_management : r.cidr_ipv4]
    outward         = [for r in aws_vpc_security_group_egress_rule.outward : r.cidr_ipv4]
  }
}

output "encryption" {
  description = "Whether each thing that keeps data is encrypted, read back from the resources."
  value = {
    secrets      = flatten(aws_eks_cluster.this.encryption_config[*].resources)
    node_volumes = { for name, t in aws_launch_template.pool : name => t.block_device_mappings[0].ebs[0].encrypted }
    keys         = { for name, k in { secrets = aws_kms_key.secrets, volumes = aws_kms_key.volumes } : name => { rotation = k.enable_key_rotation, window = k.deletion_window_in_days } }
  }
}

output "groups" {
  description = "Node groups: pool, zone, instance types, nodes, and nodes that an update takes away at once."
  value = { for key, g in aws_eks_node_group.this : key => {
    pool        = g.labels["triad.dev/pool"], zone = local.groups[key].zone, instances = g.instance_types, nodes = g.scaling_config[0].desired_size,
    unavailable = g.update_config[0].max_unavailable, forced = g.force_update_version
  } }
}

output "metadata_tokens" {
  description = "Whether nodes demand session tokens for their metadata, by pool, and how far an answer travels."
  value       = { for name, t in aws_launch_template.pool : name => { tokens = t.metadata_options[0].http_tokens, hops = t.metadata_options[0].http_put_response_hop_limit } }
}

output "policies" {
  description = "Rights of service accounts as JSON, by name."
  value       = { for name, p in aws_iam_role_policy.workload : name => p.policy }
}

output "network_policies_enforced" {
  description = "Whether the network add-on enforces NetworkPolicies."
  value       = jsondecode(aws_eks_addon.network.configuration_values).enableNetworkPolicy == "true"
}
