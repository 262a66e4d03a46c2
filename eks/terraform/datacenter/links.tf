# Links to the clusters whose roots were applied before this one, found by their tags: no root reads another's state.
locals {
  peers = toset(["kafka", "monitoring"])
}

data "aws_vpc" "peer" {
  for_each = local.peers
  tags     = { Name = "triad-${each.value}" }
}

data "aws_route_table" "peer_nodes" {
  for_each = { for pair in setproduct(local.peers, range(module.plan.zones)) : "${pair[0]}-${pair[1]}" => { peer = pair[0], zone = pair[1] } }
  vpc_id   = data.aws_vpc.peer[each.value.peer].id
  tags     = { Name = "triad-${each.value.peer}-nodes-${each.value.zone}" }
}

data "aws_route_table" "peer_links" {
  for_each = local.peers
  vpc_id   = data.aws_vpc.peer[each.value].id
  tags     = { Name = "triad-${each.value}-links" }
}

data "aws_route53_zone" "peer" {
  for_each     = local.peers
  name         = module.plan.domains[each.value]
  private_zone = true
}

module "link" {
  source     = "../modules/link"
  for_each   = local.peers
  self       = "datacenter"
  peer       = each.value
  directions = module.plan.directions
  parts      = module.plan.parts
  zones      = module.plan.zones
  networks = {
    datacenter = {
      vpc_id               = module.network.vpc_id
      node_route_table_ids = module.network.node_route_table_ids
      link_route_table_id  = module.network.link_route_table_id
      zone_id              = null
    }
    (each.value) = {
      vpc_id               = data.aws_vpc.peer[each.value].id
      node_route_table_ids = [for zone in range(module.plan.zones) : data.aws_route_table.peer_nodes["${each.value}-${zone}"].id]
      link_route_table_id  = data.aws_route_table.peer_links[each.value].id
      zone_id              = data.aws_route53_zone.peer[each.value].zone_id
    }
  }
}
