variable "account" {
  description = "AWS account; the provider refuses to work in any other."
  type        = string
  validation {
    condition     = can(regex("^[0-9]{12}$", var.account))
    error_message = "An account has twelve digits."
  }
}

variable "region" {
  description = "AWS region of all three clusters: a security group and a peering do not leave it."
  type        = string
  default     = "eu-central-1"
}

variable "docker_hub_secret_arn" {
  description = "Secret with a Docker Hub user and token (its name starts with ecr-pullthroughcache/): without one Docker Hub is not cached."
  type        = string
  default     = null
}
