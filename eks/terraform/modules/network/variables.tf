variable "cluster" {
  description = "Role and name of the cluster that the network is for."
  type        = string
}

variable "parts" {
  description = "Address ranges of this network, from the plan."
  type        = object({ range = string, nodes = string, links = string, control = string, endpoints = string, outward = string })
}

variable "subnets" {
  description = "Address ranges of the subnets, from the plan: one for each zone."
  type        = object({ nodes = list(string), links = list(string), control = list(string), endpoints = list(string), outward = list(string) })
}

variable "closed" {
  description = "No NAT gateway and no internet gateway: what leaves goes to AWS services by endpoints in this network, or over a declared link."
  type        = bool
}

variable "services" {
  description = "AWS services that get an interface in this network."
  type        = set(string)
}

variable "transit" {
  description = "The company's transit gateway and the ranges behind it: management reaches the API server, people reach the load balancers. Null: no attachment."
  type        = object({ gateway_id = string, management_cidr = string, people_cidr = optional(string) })
  default     = null
}
