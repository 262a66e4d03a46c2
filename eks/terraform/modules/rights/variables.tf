variable "cluster" {
  description = "Role and name of the cluster."
  type        = string
}

variable "zone_id" {
  description = "Private zone of the cluster's names; null where it has none."
  type        = string
  default     = null
}

variable "reads" {
  description = "Secrets below triad/ that the cluster reads."
  type        = set(string)
}

variable "writes" {
  description = "Secrets below triad/ that the cluster writes, and reads back."
  type        = set(string)
  default     = []
}
