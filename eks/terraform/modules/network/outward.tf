# The way out, where there is one: a NAT gateway in each zone. Which nodes may use it is decided by a security group (modules/cluster, outward).

locals {
  outward = var.closed ? {} : local.each
}

resource "aws_internet_gateway" "this" {
  count  = var.closed ? 0 : 1
  vpc_id = aws_vpc.this.id
  tags   = { Name = local.name }
}

resource "aws_subnet" "outward" {
  for_each          = local.outward
  vpc_id            = aws_vpc.this.id
  availability_zone = each.value
  cidr_block        = var.subnets.outward[each.key]
  tags              = { Name = "${local.name}-outward-${each.key}" }
}

resource "aws_route_table" "outward" {
  count  = var.closed ? 0 : 1
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${local.name}-outward" }
}

resource "aws_route" "outward" {
  count                  = var.closed ? 0 : 1
  route_table_id         = aws_route_table.outward[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_route_table_association" "outward" {
  for_each       = local.outward
  subnet_id      = aws_subnet.outward[each.key].id
  route_table_id = aws_route_table.outward[0].id
}

resource "aws_eip" "outward" {
  for_each = local.outward
  domain   = "vpc"
  tags     = { Name = "${local.name}-outward-${each.key}" }
}

resource "aws_nat_gateway" "this" {
  for_each      = local.outward
  allocation_id = aws_eip.outward[each.key].id
  subnet_id     = aws_subnet.outward[each.key].id
  tags          = { Name = "${local.name}-${each.key}" }
  depends_on    = [aws_internet_gateway.this]
}

resource "aws_route" "nodes_outward" {
  for_each               = local.outward
  route_table_id         = aws_route_table.nodes[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[each.key].id
}

# The company's network: management to the API server, people to the load balancers. No route of the nodes leads there.
resource "aws_ec2_transit_gateway_vpc_attachment" "company" {
  count              = var.transit == null ? 0 : 1
  transit_gateway_id = var.transit.gateway_id
  vpc_id             = aws_vpc.this.id
  subnet_ids         = [for zone in sort(keys(local.each)) : aws_subnet.control[zone].id]
  tags               = { Name = local.name }
}

resource "aws_route" "management" {
  count                  = var.transit == null ? 0 : 1
  route_table_id         = aws_route_table.control.id
  destination_cidr_block = var.transit.management_cidr
  transit_gateway_id     = var.transit.gateway_id
  depends_on             = [aws_ec2_transit_gateway_vpc_attachment.company]
}

resource "aws_route" "people" {
  count                  = try(var.transit.people_cidr, null) == null ? 0 : 1
  route_table_id         = aws_route_table.links.id
  destination_cidr_block = var.transit.people_cidr
  transit_gateway_id     = var.transit.gateway_id
  depends_on             = [aws_ec2_transit_gateway_vpc_attachment.company]
}
