output "balancers" {
  description = "Policy of the load balancer controller, as JSON."
  value       = jsonencode(local.balancers)
}

output "names" {
  description = "Policy of external-dns, as JSON."
  value       = jsonencode(local.names)
}

output "secrets" {
  description = "Policy of External Secrets, as JSON."
  value       = jsonencode(local.secrets)
}
