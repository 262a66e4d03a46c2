data "aws_region" "here" {}

data "aws_caller_identity" "here" {}

data "aws_availability_zones" "usable" {
  state = "available"
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  name  = "triad-${var.cluster}"
  zones = slice(sort(data.aws_availability_zones.usable.names), 0, length(var.subnets.nodes))
  each  = { for i, zone in local.zones : tostring(i) => zone }
}

resource "aws_vpc" "this" {
  cidr_block           = var.parts.range
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = local.name }
}

# What is not told which group to use gets this one, which lets nothing through.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${local.name}-default-closed" }
}

# Nodes and pods.
resource "aws_subnet" "nodes" {
  for_each          = local.each
  vpc_id            = aws_vpc.this.id
  availability_zone = each.value
  cidr_block        = var.subnets.nodes[each.key]
  tags              = { Name = "${local.name}-nodes-${each.key}" }
}

# Load balancers that other networks reach, and nothing else: the only part of this network that another one has a route to.
resource "aws_subnet" "links" {
  for_each          = local.each
  vpc_id            = aws_vpc.this.id
  availability_zone = each.value
  cidr_block        = var.subnets.links[each.key]
  tags = {
    Name                              = "${local.name}-links-${each.key}"
    "kubernetes.io/role/internal-elb" = "1"
  }
}

resource "aws_subnet" "control" {
  for_each          = local.each
  vpc_id            = aws_vpc.this.id
  availability_zone = each.value
  cidr_block        = var.subnets.control[each.key]
  tags              = { Name = "${local.name}-control-${each.key}" }
}

resource "aws_subnet" "endpoints" {
  for_each          = local.each
  vpc_id            = aws_vpc.this.id
  availability_zone = each.value
  cidr_block        = var.subnets.endpoints[each.key]
  tags              = { Name = "${local.name}-endpoints-${each.key}" }
}

# One table a zone, closed or not: links add their routes to them by name.
resource "aws_route_table" "nodes" {
  for_each = local.each
  vpc_id   = aws_vpc.this.id
  tags     = { Name = "${local.name}-nodes-${each.key}" }
}

resource "aws_route_table" "links" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${local.name}-links" }
}

resource "aws_route_table" "control" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${local.name}-control" }
}

resource "aws_route_table_association" "nodes" {
  for_each       = local.each
  subnet_id      = aws_subnet.nodes[each.key].id
  route_table_id = aws_route_table.nodes[each.key].id
}

resource "aws_route_table_association" "links" {
  for_each       = local.each
  subnet_id      = aws_subnet.links[each.key].id
  route_table_id = aws_route_table.links.id
}

resource "aws_route_table_association" "control" {
  for_each       = local.each
  subnet_id      = aws_subnet.control[each.key].id
  route_table_id = aws_route_table.control.id
}

# Logs of the network and of the control plane.
resource "aws_kms_key" "logs" {
  description             = "Logs of ${local.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Account"
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.here.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "Logs"
        Effect    = "Allow"
        Principal = { Service = "logs.${data.aws_region.here.name}.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "*"
        Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = [
          "arn:aws:logs:${data.aws_region.here.name}:${data.aws_caller_identity.here.account_id}:log-group:/triad/${var.cluster}/*",
          "arn:aws:logs:${data.aws_region.here.name}:${data.aws_caller_identity.here.account_id}:log-group:/aws/eks/${local.name}/*",
        ] } }
      },
    ]
  })
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "logs" {
  name          = "alias/${local.name}-logs"
  target_key_id = aws_kms_key.logs.key_id
}

# Every connection, let through or not, of which the isolation claim can be judged afterwards.
resource "aws_cloudwatch_log_group" "flows" {
  name              = "/triad/${var.cluster}/connections"
  retention_in_days = 30
  kms_key_id        = aws_kms_key.logs.arn
}

resource "aws_iam_role" "flows" {
  name = "${local.name}-connections"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "vpc-flow-logs.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.here.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "flows" {
  name = "write"
  role = aws_iam_role.flows.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents"]
      Resource = "arn:aws:logs:${data.aws_region.here.name}:${data.aws_caller_identity.here.account_id}:log-group:/triad/${var.cluster}/connections:*"
    }]
  })
}

resource "aws_flow_log" "this" {
  vpc_id                   = aws_vpc.this.id
  traffic_type             = "ALL"
  log_destination          = aws_cloudwatch_log_group.flows.arn
  iam_role_arn             = aws_iam_role.flows.arn
  max_aggregation_interval = 60
}
