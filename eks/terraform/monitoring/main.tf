# The only place where people look: the store, the central Prometheus, Connect, dashboards. Applied second: it makes its link to kafka.

data "aws_caller_identity" "here" {}

module "plan" {
  source      = "../modules/plan"
  cluster     = "monitoring"
  people_cidr = var.people_cidr
}

module "network" {
  source   = "../modules/network"
  cluster  = "monitoring"
  parts    = module.plan.parts["monitoring"]
  subnets  = module.plan.subnets
  closed   = false
  services = ["ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "elasticloadbalancing", "logs", "secretsmanager", "sts"]
  transit = var.management == null ? null : {
    gateway_id      = var.management.gateway_id
    management_cidr = var.management.cidr
    people_cidr     = var.people_cidr
  }
}

module "cluster" {
  source             = "../modules/cluster"
  cluster            = "monitoring"
  kubernetes_version = var.kubernetes_version
  network            = module.network
  ingress            = module.plan.ingress
  egress             = module.plan.egress
  backends           = module.plan.backends
  management_cidr    = try(var.management.cidr, null)
  log_key_arn        = module.network.log_key_arn
  deployers          = var.deployers
  observers          = var.observers

  # The store on nodes of its own, one a zone. The central Prometheus is one pod with one volume, so its pool is in one zone. Both are tainted. Connect,
  # dashboards and controllers on the third.
  pools = {
    search  = { zones = [0, 1, 2], size = 1, instance = "r7i.large", disk_gib = 60, tainted = true }
    metrics = { zones = [0], size = 1, instance = "r7i.large", tainted = true }
    system  = { zones = [0, 1, 2], size = 1, instance = "m7i.xlarge", outward = true }
  }

  identities = {
    secrets   = { namespace = "external-secrets", service_account = "external-secrets", policy = module.rights.secrets }
    balancers = { namespace = "kube-system", service_account = "aws-load-balancer-controller", policy = module.rights.balancers }
    names     = { namespace = "external-dns", service_account = "external-dns", policy = module.rights.names }
  }
}

module "rights" {
  source  = "../modules/rights"
  cluster = "monitoring"
  zone_id = aws_route53_zone.own.zone_id
  reads   = ["connect", "elasticsearch-tls", "elasticsearch-users", "grafana", "kafka-ca", "kibana", "remote-write-monitoring"]
}

# The names by which other clusters know this one. The controller external-dns fills it; links associate the other networks.
resource "aws_route53_zone" "own" {
  name          = module.plan.domain
  comment       = "Names of the cluster monitoring for the networks that flows.yaml lets in"
  force_destroy = false
  vpc {
    vpc_id = module.network.vpc_id
  }
  tags = { Name = "triad-monitoring" }
  lifecycle {
    prevent_destroy = true
    ignore_changes  = [vpc]
  }
}
