variable "self" {
  description = "Name of the cluster whose root asks for the peering."
  type        = string
}

variable "peer" {
  description = "Name of the other cluster. Its root was applied before."
  type        = string
}

variable "directions" {
  description = "Who opens connections to whom, from the plan: only the pairs of these two are used."
  type        = list(object({ from = string, to = string }))
}

variable "parts" {
  description = "Address ranges of every network, from the plan."
  type        = map(object({ nodes = string, links = string }))
}

variable "networks" {
  description = "Both networks: the network's id, the node route tables (one a zone), the load balancers' route table, the private zone (null where nobody names the cluster)."
  type        = map(object({ vpc_id = string, node_route_table_ids = list(string), link_route_table_id = string, zone_id = optional(string) }))
}

variable "zones" {
  description = "Number of availability zones."
  type        = number
}
