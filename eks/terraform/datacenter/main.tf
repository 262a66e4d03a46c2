# Services run and logs are born: a closed network. Nothing comes in, and what goes out goes to AWS by interfaces or over the links.

data "aws_caller_identity" "here" {}

module "plan" {
  source  = "../modules/plan"
  cluster = "datacenter"
}

module "network" {
  source   = "../modules/network"
  cluster  = "datacenter"
  parts    = module.plan.parts["datacenter"]
  subnets  = module.plan.subnets
  closed   = true
  services = ["ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "logs", "secretsmanager", "sts"]
  transit = var.management == null ? null : {
    gateway_id      = var.management.gateway_id
    management_cidr = var.management.cidr
  }
}

module "cluster" {
  source             = "../modules/cluster"
  cluster            = "datacenter"
  kubernetes_version = var.kubernetes_version
  network            = module.network
  ingress            = module.plan.ingress
  egress             = module.plan.egress
  backends           = module.plan.backends
  management_cidr    = try(var.management.cidr, null)
  log_key_arn        = module.network.log_key_arn
  deployers          = var.deployers
  observers          = var.observers

  # Services; buffers apart (the pool is tainted), one node a zone, because a buffer's volume is in one. Agents run on both.
  pools = {
    general = { zones = [0, 1, 2], size = 1, instance = "m7i.large" }
    buffers = { zones = [0, 1, 2], size = 1, instance = "m7i.large", tainted = true }
  }

  identities = {
    secrets = { namespace = "external-secrets", service_account = "external-secrets", policy = module.rights.secrets }
  }
}

module "rights" {
  source  = "../modules/rights"
  cluster = "datacenter"
  zone_id = null
  reads   = ["fluentd", "kafka-ca", "remote-write-datacenter"]
}
