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
  description = "All rules of all groups that this module makes: ports and other ends. A way inside of the network says which end it has: a group, or a range."
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
    inside = { for key, r in merge(
      {
        nodes_from_nodes  = aws_vpc_security_group_ingress_rule.nodes_from_nodes
        nodes_to_nodes    = aws_vpc_security_group_egress_rule.nodes_to_nodes
        nodes_to_api      = aws_vpc_security_group_egress_rule.nodes_to_api
        nodes_to_services = aws_vpc_security_group_egress_rule.nodes_to_services
        nodes_to_layers   = aws_vpc_security_group_egress_rule.nodes_to_layers
        api_from_nodes    = aws_vpc_security_group_ingress_rule.api_from_nodes
      },
      { for name, r in aws_vpc_security_group_egress_rule.api_to_nodes : "api_to_nodes_${name}" => r },
      { for name, r in aws_vpc_security_group_ingress_rule.nodes_from_api : "nodes_from_api_${name}" => r },
      ) : key => {
      group    = r.security_group_id == aws_security_group.nodes.id ? "nodes" : r.security_group_id == aws_security_group.control_plane.id ? "api" : "another"
      protocol = r.ip_protocol, from = r.from_port, to = r.to_port
      end = (
        r.referenced_security_group_id == aws_security_group.nodes.id ? "nodes" :
        r.referenced_security_group_id == aws_security_group.control_plane.id ? "api" :
        r.referenced_security_group_id == var.network.endpoint_security_group_id ? "services" :
        r.prefix_list_id == var.network.s3_prefix_list_id ? "layers" : "another"
      )
      ranges = length(compact([r.cidr_ipv4, r.cidr_ipv6]))
    } }
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

output "access" {
  description = "Who gets into the cluster by its API: the mode, whether whoever made it is an administrator, and each entry with its policy and scope."
  value = {
    mode          = aws_eks_cluster.this.access_config[0].authentication_mode
    creator_admin = aws_eks_cluster.this.access_config[0].bootstrap_cluster_creator_admin_permissions
    entries       = sort(concat([for e in aws_eks_access_entry.deployer : e.principal_arn], [for e in aws_eks_access_entry.observer : e.principal_arn]))
    groups        = { for e in aws_eks_access_entry.observer : e.principal_arn => join(" ", e.kubernetes_groups) }
    policies = [for a in concat(values(aws_eks_access_policy_association.deployer), values(aws_eks_access_policy_association.observer)) : {
      principal = a.principal_arn, policy = a.policy_arn, scope = a.access_scope[0].type, namespaces = a.access_scope[0].namespaces == null ? "" : join(" ", a.access_scope[0].namespaces)
    }]
  }
}

output "roles" {
  description = "Rights of the roles that no pod has: who may take them, managed policies of AWS, and the rights written here, as JSON."
  value = {
    node = {
      trust = aws_iam_role.node.assume_role_policy, managed = [aws_iam_role_policy_attachment.node.policy_arn], rights = aws_iam_role_policy.node.policy
    }
    control_plane = {
      trust = aws_iam_role.control_plane.assume_role_policy, managed = [aws_iam_role_policy_attachment.control_plane.policy_arn], rights = aws_iam_role_policy.control_plane.policy
    }
  }
}

output "addons" {
  description = "Add-ons of EKS that the cluster has."
  value = sort([
    for a in [aws_eks_addon.network, aws_eks_addon.identity, aws_eks_addon.proxy, aws_eks_addon.names, aws_eks_addon.volumes] : a.addon_name
  ])
}
