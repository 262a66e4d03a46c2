# The backbone: brokers on nodes and volumes of their own, one a zone. Applied first: the others make links to it.

data "aws_caller_identity" "here" {}

module "plan" {
  source  = "../modules/plan"
  cluster = "kafka"
}

module "network" {
  source   = "../modules/network"
  cluster  = "kafka"
  parts    = module.plan.parts["kafka"]
  subnets  = module.plan.subnets
  closed   = false
  services = ["ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "elasticloadbalancing", "logs", "secretsmanager", "sts"]
  transit = var.management == null ? null : {
    gateway_id      = var.management.gateway_id
    management_cidr = var.management.cidr
  }
}

module "cluster" {
  source             = "../modules/cluster"
  cluster            = "kafka"
  kubernetes_version = var.kubernetes_version
  network            = module.network
  ingress            = module.plan.ingress
  egress             = module.plan.egress
  backends           = module.plan.backends
  management_cidr    = try(var.management.cidr, null)
  log_key_arn        = module.network.log_key_arn
  deployers          = var.deployers
  observers          = var.observers

  # One broker a zone, alone on its node (the pool is tainted): memory above the heap is page cache. Controllers and agents on the other pool.
  pools = {
    brokers = { zones = [0, 1, 2], size = 1, instance = "m7i.xlarge", tainted = true }
    system  = { zones = [0, 1, 2], size = 1, instance = "m7i.large", outward = true }
  }

  identities = {
    secrets   = { namespace = "external-secrets", service_account = "external-secrets", policy = module.rights.secrets }
    balancers = { namespace = "kube-system", service_account = "aws-load-balancer-controller", policy = module.rights.balancers }
    names     = { namespace = "external-dns", service_account = "external-dns", policy = module.rights.names }
  }
}

module "rights" {
  source  = "../modules/rights"
  cluster = "kafka"
  zone_id = aws_route53_zone.own.zone_id
  reads   = ["remote-write-kafka"]
  writes  = ["connect", "fluentd", "kafka-ca"]
}

# The names by which other clusters know this one. The controller external-dns fills it; links associate the other networks.
resource "aws_route53_zone" "own" {
  name          = module.plan.domain
  comment       = "Names of the cluster kafka for the networks that flows.yaml lets in"
  force_destroy = false
  vpc {
    vpc_id = module.network.vpc_id
  }
  tags = { Name = "triad-kafka" }
  lifecycle {
    prevent_destroy = true
    ignore_changes  = [vpc]
  }
}
