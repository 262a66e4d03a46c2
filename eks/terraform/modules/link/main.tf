# One peering, and routes for exactly the directions that manifests/flows.yaml has between the two: the nodes of the one side reach the load
# balancers' subnets of the other, and those subnets answer. Nodes have no route to nodes.
#
# Peering and not PrivateLink. PrivateLink needs an endpoint service for each load balancer, and clients have to reach every broker by a name of
# its own: four services and twelve interfaces a client network, made after the controller in the cluster has made the load balancers, with names
# that hide the brokers' own. What PrivateLink would give beyond that (no route to the rest of the network, one direction only) the narrow routes
# and the security groups give here. Overlapping address ranges are its remaining advantage; the plan has none.
#
# The peering root makes both sides, so no root has to be applied twice: kafka, then monitoring, then datacenter.

locals {
  directions = { for d in var.directions : "${d.from}-${d.to}" => d if contains([var.self, var.peer], d.from) && contains([var.self, var.peer], d.to) }
  outgoing = merge([
    for key, d in local.directions : { for zone in range(var.zones) : "${key}-${zone}" => merge(d, { zone = zone }) }
  ]...)
}

resource "aws_vpc_peering_connection" "this" {
  vpc_id      = var.networks[var.self].vpc_id
  peer_vpc_id = var.networks[var.peer].vpc_id
  auto_accept = true
  tags        = { Name = "triad-${var.self}-${var.peer}" }
}

resource "aws_route" "forth" {
  for_each                  = local.outgoing
  route_table_id            = var.networks[each.value.from].node_route_table_ids[each.value.zone]
  destination_cidr_block    = var.parts[each.value.to].links
  vpc_peering_connection_id = aws_vpc_peering_connection.this.id
}

resource "aws_route" "back" {
  for_each                  = local.directions
  route_table_id            = var.networks[each.value.to].link_route_table_id
  destination_cidr_block    = var.parts[each.value.from].nodes
  vpc_peering_connection_id = aws_vpc_peering_connection.this.id
}

# Whoever opens connections resolves the names of the other side.
resource "aws_route53_zone_association" "names" {
  for_each = local.directions
  vpc_id   = var.networks[each.value.from].vpc_id
  zone_id  = var.networks[each.value.to].zone_id
}
