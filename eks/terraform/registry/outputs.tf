output "registry" {
  description = "The registry that the overlays name."
  value       = "${var.account}.dkr.ecr.${var.region}.amazonaws.com"
}

output "prefixes" {
  description = "What stands behind each prefix of the registry: a cache of an upstream, or repositories that somebody fills."
  value = merge(
    { for prefix, rule in aws_ecr_pull_through_cache_rule.this : prefix => rule.upstream_registry_url },
    { for name, r in aws_ecr_repository.this : name => "filled" },
  )
}
