output "parts" {
  description = "Address ranges of every network, by cluster: range, nodes, links, control, endpoints, outward."
  value       = local.parts
}

output "subnets" {
  description = "Address ranges of this cluster's subnets: part, then one for each zone."
  value       = local.subnets
}

output "zones" {
  description = "Number of availability zones."
  value       = local.zones
}

output "ingress" {
  description = "Rules of the load balancers' security groups: key -> front, port, cidr, flows."
  value       = local.ingress
}

output "egress" {
  description = "Rules by which nodes reach load balancers of other clusters: key -> port, cidr, flows."
  value       = local.egress
}

output "backends" {
  description = "Components that load balancers forward to: component -> name of the front, port of the pods."
  value       = local.backends
}

output "directions" {
  description = "Pairs of clusters between which connections are opened: from, to."
  value       = local.directions
}

output "domain" {
  description = "Private zone of this cluster's names."
  value       = "${var.cluster}.triad.internal"
}

output "domains" {
  description = "Private zone of each cluster that other clusters name."
  value       = { for cluster in distinct([for d in local.directions : d.to]) : cluster => "${cluster}.triad.internal" }
}
