# Security groups. Nodes do not carry the group that EKS makes for a cluster, which lets everything out: they carry the one below, and what is not
# written here is closed. Rules that cross networks come from manifests/flows.yaml; the tests compare them one by one.

resource "aws_security_group" "control_plane" {
  name_prefix = "${local.name}-control-plane-"
  description = "API server of ${local.name}"
  vpc_id      = var.network.vpc_id
  tags        = { Name = "${local.name}-control-plane" }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "nodes" {
  name_prefix = "${local.name}-nodes-"
  description = "Nodes and pods of ${local.name}"
  vpc_id      = var.network.vpc_id
  tags        = { Name = "${local.name}-nodes" }
  lifecycle {
    create_before_destroy = true
  }
}

# Only the pools that say outward carry it: controllers that call services of AWS which have no interface in a network (Route 53).
resource "aws_security_group" "outward" {
  count       = length([for p in var.pools : p if p.outward]) > 0 ? 1 : 0
  name_prefix = "${local.name}-outward-"
  description = "Nodes that may use the NAT gateway"
  vpc_id      = var.network.vpc_id
  tags        = { Name = "${local.name}-outward" }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "outward" {
  count             = length(aws_security_group.outward)
  security_group_id = aws_security_group.outward[0].id
  description       = "Services of AWS by the NAT gateway, TLS only"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
}

# Load balancers, found by the controller under the tag Name (annotation aws-load-balancer-security-groups, for Ingresses security-groups).
resource "aws_security_group" "front" {
  for_each    = toset([for key, rule in var.ingress : rule.front])
  name_prefix = "${local.name}-front-${each.value}-"
  description = "Load balancers in front of ${each.value}"
  vpc_id      = var.network.vpc_id
  tags        = { Name = "${local.name}-front-${each.value}" }
  lifecycle {
    create_before_destroy = true
  }
}

# --- what crosses networks: one rule for one entry of flows.yaml ---

resource "aws_vpc_security_group_ingress_rule" "flow" {
  for_each          = var.ingress
  security_group_id = aws_security_group.front[each.value.front].id
  description       = "flows: ${join(", ", each.value.flows)}"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
}

resource "aws_vpc_security_group_egress_rule" "flow" {
  for_each          = var.egress
  security_group_id = aws_security_group.nodes.id
  description       = "flows: ${join(", ", each.value.flows)}"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
}

# --- behind the load balancers ---

resource "aws_vpc_security_group_egress_rule" "front_to_pods" {
  for_each                     = var.backends
  security_group_id            = aws_security_group.front[each.value.name].id
  description                  = "Pods of ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = aws_security_group.nodes.id
}

resource "aws_vpc_security_group_ingress_rule" "pods_from_front" {
  for_each                     = var.backends
  security_group_id            = aws_security_group.nodes.id
  description                  = "Load balancer of ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = aws_security_group.front[each.value.name].id
}

# --- inside the network ---

# Between nodes everything: which pod talks to which is said by NetworkPolicies, which the network add-on enforces.
resource "aws_vpc_security_group_ingress_rule" "nodes_from_nodes" {
  security_group_id            = aws_security_group.nodes.id
  description                  = "Between nodes; NetworkPolicies say which pods"
  ip_protocol                  = "-1"
  referenced_security_group_id = aws_security_group.nodes.id
}

resource "aws_vpc_security_group_egress_rule" "nodes_to_nodes" {
  security_group_id            = aws_security_group.nodes.id
  description                  = "Between nodes; NetworkPolicies say which pods"
  ip_protocol                  = "-1"
  referenced_security_group_id = aws_security_group.nodes.id
}

resource "aws_vpc_security_group_egress_rule" "nodes_to_api" {
  security_group_id            = aws_security_group.nodes.id
  description                  = "API server"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.control_plane.id
}

resource "aws_vpc_security_group_egress_rule" "nodes_to_services" {
  security_group_id            = aws_security_group.nodes.id
  description                  = "Interfaces of AWS services"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = var.network.endpoint_security_group_id
}

resource "aws_vpc_security_group_egress_rule" "nodes_to_layers" {
  security_group_id = aws_security_group.nodes.id
  description       = "Layers of images, by the gateway of S3"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  prefix_list_id    = var.network.s3_prefix_list_id
}

resource "aws_vpc_security_group_ingress_rule" "api_from_nodes" {
  security_group_id            = aws_security_group.control_plane.id
  description                  = "Nodes and pods"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.nodes.id
}

resource "aws_vpc_security_group_ingress_rule" "api_from_management" {
  count             = var.management_cidr == null ? 0 : 1
  security_group_id = aws_security_group.control_plane.id
  description       = "Management: deployments, and the harness by port-forward"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.management_cidr
}

locals {
  # kubelet (logs, exec, port-forward), and the webhook of the load balancer controller.
  api_to_nodes = { kubelet = 10250, webhooks = 9443 }
}

resource "aws_vpc_security_group_egress_rule" "api_to_nodes" {
  for_each                     = local.api_to_nodes
  security_group_id            = aws_security_group.control_plane.id
  description                  = each.key
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.nodes.id
}

resource "aws_vpc_security_group_ingress_rule" "nodes_from_api" {
  for_each                     = local.api_to_nodes
  security_group_id            = aws_security_group.nodes.id
  description                  = each.key
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.control_plane.id
}
