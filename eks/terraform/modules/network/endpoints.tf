# AWS services by interfaces in this network. In a closed one they stand in place of a NAT gateway; in the others they keep traffic inside.

resource "aws_security_group" "endpoints" {
  name_prefix = "${local.name}-endpoints-"
  description = "Interfaces of AWS services"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${local.name}-endpoints" }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  security_group_id = aws_security_group.endpoints.id
  description       = "Nodes and pods of this network"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.parts.nodes
}

resource "aws_vpc_endpoint" "service" {
  for_each            = var.services
  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.${data.aws_region.here.name}.${each.value}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = [for zone in sort(keys(local.each)) : aws_subnet.endpoints[zone].id]
  security_group_ids  = [aws_security_group.endpoints.id]
  # A stolen credential of another account is of no use from here: nothing can be carried out through AWS itself.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = "*"
      Action    = "*"
      Resource  = "*"
      Condition = { StringEquals = { "aws:PrincipalAccount" = data.aws_caller_identity.here.account_id } }
    }]
  })
  tags = { Name = "${local.name}-${each.value}" }
}

# Image layers are in a bucket of ECR's own; that bucket and no other.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${data.aws_region.here.name}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [for zone in sort(keys(local.each)) : aws_route_table.nodes[zone].id]
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = "*"
      Action    = "s3:GetObject"
      Resource  = "arn:aws:s3:::prod-${data.aws_region.here.name}-starport-layer-bucket/*"
    }]
  })
  tags = { Name = "${local.name}-s3" }
}
