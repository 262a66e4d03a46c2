output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}

output "zone_names" {
  description = "Availability zones, in the order of the subnets."
  value       = local.zones
}

output "node_subnet_ids" {
  description = "Subnets of nodes and pods, one a zone."
  value       = [for zone in sort(keys(local.each)) : aws_subnet.nodes[zone].id]
}

output "control_subnet_ids" {
  description = "Subnets of the control plane's interfaces, one a zone."
  value       = [for zone in sort(keys(local.each)) : aws_subnet.control[zone].id]
}

output "link_subnets" {
  description = "Ranges of the subnets in which load balancers stand, one a zone."
  value       = [for zone in sort(keys(local.each)) : aws_subnet.links[zone].cidr_block]
}

output "node_route_table_ids" {
  description = "Route tables of the nodes, one a zone."
  value       = [for zone in sort(keys(local.each)) : aws_route_table.nodes[zone].id]
}

output "link_route_table_id" {
  description = "Route table of the load balancers' subnets."
  value       = aws_route_table.links.id
}

output "endpoint_security_group_id" {
  description = "Group of the interfaces of AWS services: nodes get a rule to it."
  value       = aws_security_group.endpoints.id
}

output "s3_prefix_list_id" {
  description = "Addresses of S3 in the region: layers of images come from there."
  value       = aws_vpc_endpoint.s3.prefix_list_id
}

output "nat_gateways" {
  description = "Number of NAT gateways: 0 in a closed network."
  value       = length(aws_nat_gateway.this)
}

output "internet_gateways" {
  description = "Number of internet gateways: 0 in a closed network."
  value       = length(aws_internet_gateway.this)
}

output "default_routes" {
  description = "Routes to everywhere, from the nodes' tables: 0 in a closed network."
  value       = length(aws_route.nodes_outward)
}

output "services" {
  description = "AWS services that have an interface in this network."
  value       = sort([for key, e in aws_vpc_endpoint.service : key])
}

output "log_key_arn" {
  description = "Key of the logs of this network and of the control plane in it."
  value       = aws_kms_key.logs.arn
}

output "log_role" {
  description = "The role that writes the log of connections: who may take it, managed policies of AWS, and its rights, as JSON."
  value       = { trust = aws_iam_role.flows.assume_role_policy, managed = [], rights = aws_iam_role_policy.flows.policy }
}
