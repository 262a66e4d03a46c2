# What manifests/overlays/eks/datacenter and eks/argocd need to know, and what the tests look at.

output "cluster" {
  description = "The cluster: name, API server, ARN; for the kubeconfig context and for Argo CD."
  value       = { name = module.cluster.name, endpoint = module.cluster.endpoint, arn = module.cluster.arn }
}

output "overlay" {
  description = "Values that the overlay names: registry, load balancers' security groups by their tag Name, key of volumes, pools, private zone."
  value = {
    registry             = module.cluster.registry
    fronts               = module.cluster.fronts
    volume_key_alias_arn = module.cluster.volume_key_alias_arn
    pools                = module.cluster.pools
    domain               = module.plan.domain
  }
}

output "network" {
  description = "The network: id, zones, subnets of load balancers, ways out."
  value = {
    vpc_id            = module.network.vpc_id
    zones             = module.network.zone_names
    link_subnets      = module.network.link_subnets
    nat_gateways      = module.network.nat_gateways
    internet_gateways = module.network.internet_gateways
    default_routes    = module.network.default_routes
    services          = module.network.services
  }
}

output "security" {
  description = "What the isolation claim rests on, read back from the resources."
  value = {
    public_access             = module.cluster.public_access
    private_access            = module.cluster.private_access
    rules                     = module.cluster.rules
    encryption                = module.cluster.encryption
    log_types                 = module.cluster.log_types
    metadata_tokens           = module.cluster.metadata_tokens
    network_policies_enforced = module.cluster.network_policies_enforced
    groups                    = module.cluster.groups
    access                    = module.cluster.access
    roles                     = merge(module.cluster.roles, { connections = module.network.log_role })
    addons                    = module.cluster.addons
  }
}

output "links" {
  description = "Routes and names of each link that this root makes."
  value       = { for peer, link in module.link : peer => { routes = link.routes, names = link.names } }
}

output "policies" {
  description = "Rights of service accounts in AWS, as JSON."
  value       = module.cluster.policies
}
