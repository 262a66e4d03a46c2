variable "cluster" {
  description = "Role and name of the cluster: datacenter, kafka or monitoring."
  type        = string
  validation {
    condition     = contains(["datacenter", "kafka", "monitoring"], var.cluster)
    error_message = "The cluster is datacenter, kafka or monitoring."
  }
}

variable "people_cidr" {
  description = "Where people sit who look at dashboards: the source \"outside\" of manifests/flows.yaml. Only the monitoring root has a use for it."
  type        = string
  default     = "192.0.2.0/24"
  validation {
    condition     = can(cidrhost(var.people_cidr, 0)) && !endswith(var.people_cidr, "/0")
    error_message = "A range of the company's network, not everybody."
  }
}
