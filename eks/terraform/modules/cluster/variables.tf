variable "cluster" {
  description = "Role and name of the cluster; the namespace in it has the same name."
  type        = string
}

variable "kubernetes_version" {
  description = "Minor version of the control plane and its nodes."
  type        = string
}

variable "network" {
  description = "The network that the cluster stands in."
  type = object({
    vpc_id                     = string
    node_subnet_ids            = list(string)
    control_subnet_ids         = list(string)
    endpoint_security_group_id = string
    s3_prefix_list_id          = string
  })
}

variable "ingress" {
  description = "Rules of the load balancers' groups, from the plan."
  type        = map(object({ front = string, port = number, cidr = string, flows = list(string) }))
}

variable "egress" {
  description = "Rules by which nodes reach load balancers of other clusters, from the plan."
  type        = map(object({ port = number, cidr = string, flows = list(string) }))
}

variable "backends" {
  description = "Components behind load balancers, from the plan."
  type        = map(object({ name = string, port = number }))
}

variable "management_cidr" {
  description = "From where the API server is reached: the people and programs that deploy, and the harness. Null: from nowhere outside this network."
  type        = string
  default     = null
  validation {
    condition     = var.management_cidr == null ? true : can(cidrhost(var.management_cidr, 0)) && !endswith(var.management_cidr, "/0")
    error_message = "A range of the company's network, not everybody."
  }
}

variable "pools" {
  description = <<-EOT
    Node pools by name, which is also the label triad.dev/pool. zones: the zones by number, one managed node group for each, so that a volume of a
    zone always finds a node there. size: nodes a zone. tainted: only pods that tolerate the pool. outward: may use the network's NAT gateway.
  EOT
  type = map(object({
    zones     = list(number)
    size      = number
    instance  = string
    disk_gib  = optional(number, 40)
    disk_iops = optional(number, 3000)
    disk_mbps = optional(number, 125)
    tainted   = optional(bool, false)
    outward   = optional(bool, false)
  }))
  validation {
    condition     = length([for p in var.pools : p if !p.tainted]) > 0
    error_message = "One pool is not tainted: DNS and the controllers run there."
  }
}

variable "log_key_arn" {
  description = "KMS key of the control plane's log group."
  type        = string
}

variable "deployers" {
  description = "ARNs of the roles that deploy (Argo CD). They create cluster roles and definitions, so they are administrators of the cluster."
  type        = set(string)
  default     = []
}

variable "observers" {
  description = "ARNs of the roles with which the harness looks: read only, in this cluster's namespace, no Secrets. Group triad-observers."
  type        = set(string)
  default     = []
}

variable "addon_registry_account" {
  description = "AWS account from which the region's EKS add-on images come."
  type        = string
  default     = "602401143452"
}

variable "identities" {
  description = "Service accounts with rights in AWS: name -> namespace, service account, policy (JSON)."
  type        = map(object({ namespace = string, service_account = string, policy = string }))
  default     = {}
}
