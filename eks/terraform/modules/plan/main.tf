# What all roots agree on without reading each other's state: address ranges, names, and the rules that follow from manifests/flows.yaml.
# Nothing here makes a resource.

locals {
  # One range per network, none overlaps: peering demands it. /16 each, of which the parts below are used.
  ranges = {
    datacenter = "10.64.0.0/16"
    kafka      = "10.65.0.0/16"
    monitoring = "10.66.0.0/16"
  }
  zones = 3

  parts = {
    for cluster, range in local.ranges : cluster => {
      range     = range
      nodes     = cidrsubnet(range, 2, 0)  # nodes and pods: a /20 a zone
      links     = cidrsubnet(range, 8, 64) # load balancers that other networks reach: a /26 a zone
      control   = cidrsubnet(range, 8, 65) # the control plane's interfaces
      endpoints = cidrsubnet(range, 8, 66) # interfaces of AWS services
      outward   = cidrsubnet(range, 8, 67) # NAT gateways, where there are any
    }
  }

  subnets = {
    for part, bits in { nodes = 2, links = 2, control = 2, endpoints = 2, outward = 2 } :
    part => [for zone in range(local.zones) : cidrsubnet(local.parts[var.cluster][part], bits, zone)]
  }

  flows = yamldecode(file("${path.module}/../../../../manifests/flows.yaml")).flows

  # What stands in front of a component, and the port of its pods behind that. Grafana and Kibana share a load balancer.
  fronts = {
    kafka      = { name = "kafka", port = 9094 }
    prometheus = { name = "prometheus", port = 9090 }
    grafana    = { name = "views", port = 3000 }
    kibana     = { name = "views", port = 5601 }
  }

  sources = merge({ for cluster, part in local.parts : cluster => part.nodes }, { outside = var.people_cidr })

  # Two flows may ask for the same rule (dashboards and search): AWS refuses a rule twice, so a rule names all its flows.
  ingress_flows = {
    for r in flatten([
      for f in local.flows : [
        for port in f.ports.eks : { key = "${f.from.cluster}-${local.fronts[f.to.component].name}-${port}", flow = f, port = port }
      ] if f.to.cluster == var.cluster
    ]) : r.key => r...
  }
  ingress = {
    for key, rs in local.ingress_flows : key => {
      front = local.fronts[rs[0].flow.to.component].name
      port  = rs[0].port
      cidr  = local.sources[rs[0].flow.from.cluster]
      flows = sort([for r in rs : r.flow.name])
    }
  }

  egress_flows = {
    for r in flatten([
      for f in local.flows : [
        for port in f.ports.eks : { key = "${f.to.cluster}-${local.fronts[f.to.component].name}-${port}", flow = f, port = port }
      ] if f.from.cluster == var.cluster
    ]) : r.key => r...
  }
  egress = {
    for key, rs in local.egress_flows : key => {
      port  = rs[0].port
      cidr  = local.parts[rs[0].flow.to.cluster].links
      flows = sort([for r in rs : r.flow.name])
    }
  }

  backends = {
    for component in distinct([for f in local.flows : f.to.component if f.to.cluster == var.cluster]) : component => local.fronts[component]
  }

  # Who opens connections to whom. A link that no flow asks for has neither a peering nor a route.
  directions = distinct([for f in local.flows : { from = f.from.cluster, to = f.to.cluster } if contains(keys(local.ranges), f.from.cluster)])
}
