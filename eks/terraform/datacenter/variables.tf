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

variable "kubernetes_version" {
  description = "Minor version of the control plane and its nodes."
  type        = string
  default     = "1.34"
}

variable "management" {
  description = "The company's network, by its transit gateway: from there the API server is reached. Null: nobody outside this network reaches it."
  type        = object({ gateway_id = string, cidr = string })
  default     = null
}

variable "deployers" {
  description = "ARNs of the roles that deploy: Argo CD."
  type        = set(string)
  default     = []
}

variable "observers" {
  description = "ARNs of the roles with which the harness looks: read only."
  type        = set(string)
  default     = []
}
