# Where nodes of closed networks pull from. Registries that ECR can mirror by itself are cached; the others get repositories that a person or a job
# fills (docs/eks.md), and whose tags never change.

locals {
  caches = merge(
    { quay = { url = "quay.io", secret = null } },
    var.docker_hub_secret_arn == null ? {} : { dockerhub = { url = "registry-1.docker.io", secret = var.docker_hub_secret_arn } },
  )
  # docker.elastic.co and cr.fluentbit.io are none that ECR caches. platform/: images of the controllers in eks/argocd/apps.
  repositories = toset([
    "elastic/elasticsearch/elasticsearch",
    "elastic/kibana/kibana",
    "fluentbit/fluent/fluent-bit",
    "platform/aws-load-balancer-controller",
    "platform/external-dns",
    "platform/external-secrets",
    "triad/kafka-connect",
    "triad/sim",
  ])
}

resource "aws_kms_key" "images" {
  description             = "Images of Triad"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_ecr_pull_through_cache_rule" "this" {
  for_each              = local.caches
  ecr_repository_prefix = each.key
  upstream_registry_url = each.value.url
  credential_arn        = each.value.secret
}

# What a pull through the cache makes gets the same as the repositories below.
resource "aws_ecr_repository_creation_template" "cached" {
  for_each             = local.caches
  prefix               = each.key
  applied_for          = ["PULL_THROUGH_CACHE"]
  image_tag_mutability = "IMMUTABLE"
  custom_role_arn      = aws_iam_role.creation.arn
  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.images.arn
  }
}

# ECR makes repositories with this role.
resource "aws_iam_role" "creation" {
  name = "triad-registry-creation"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "ecr.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy" "creation" {
  name = "rights"
  role = aws_iam_role.creation.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Repositories"
        Effect   = "Allow"
        Action   = ["ecr:CreateRepository", "ecr:ReplicateImage", "ecr:TagResource"]
        Resource = [for prefix in sort(keys(local.caches)) : "arn:aws:ecr:${var.region}:${var.account}:repository/${prefix}/*"]
      },
      {
        Sid      = "Key"
        Effect   = "Allow"
        Action   = ["kms:CreateGrant", "kms:DescribeKey", "kms:RetireGrant"]
        Resource = aws_kms_key.images.arn
      },
    ]
  })
}

resource "aws_ecr_repository" "this" {
  for_each             = local.repositories
  name                 = each.value
  image_tag_mutability = "IMMUTABLE"
  force_delete         = false
  image_scanning_configuration {
    scan_on_push = true
  }
  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.images.arn
  }
  lifecycle {
    prevent_destroy = true
  }
}
