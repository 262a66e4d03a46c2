output "routes" {
  description = "Every route of the link, sorted: from>to destination. Tests compare them with manifests/flows.yaml."
  value = sort(concat(
    [for key, r in aws_route.forth : "${local.outgoing[key].from}.nodes.${local.outgoing[key].zone}>${r.destination_cidr_block}"],
    [for key, r in aws_route.back : "${local.directions[key].to}.links>${r.destination_cidr_block}"],
  ))
}

output "names" {
  description = "Who resolves whose names, sorted: from>to."
  value       = sort([for key, a in aws_route53_zone_association.names : "${local.directions[key].from}>${local.directions[key].to}"])
}
