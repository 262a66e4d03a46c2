data "aws_region" "here" {}

data "aws_caller_identity" "here" {}

locals {
  name    = "triad-${var.cluster}"
  account = data.aws_caller_identity.here.account_id
  region  = data.aws_region.here.name
}

# Secrets in etcd. Losing the key is losing the cluster's Secrets, so nothing here can delete it at once.
resource "aws_kms_key" "secrets" {
  description             = "Secrets of the cluster ${local.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = local.key_policies.secrets
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "secrets" {
  name          = "alias/${local.name}-secrets"
  target_key_id = aws_kms_key.secrets.key_id
}

# Volumes: of the nodes, and of the pods through the storage class (parameter kmsKeyId: the alias' ARN, which is known beforehand).
resource "aws_kms_key" "volumes" {
  description             = "Volumes of the cluster ${local.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = local.key_policies.volumes
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "volumes" {
  name          = "alias/${local.name}-volumes"
  target_key_id = aws_kms_key.volumes.key_id
}

resource "aws_cloudwatch_log_group" "control_plane" {
  name              = "/aws/eks/${local.name}/cluster"
  retention_in_days = 90
  kms_key_id        = var.log_key_arn
}

# Deleting it is deleting every object in it, topics and users among them.
resource "aws_eks_cluster" "this" {
  name                          = local.name
  version                       = var.kubernetes_version
  role_arn                      = aws_iam_role.control_plane.arn
  enabled_cluster_log_types     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
  bootstrap_self_managed_addons = false

  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = false
  }

  encryption_config {
    resources = ["secrets"]
    provider {
      key_arn = aws_kms_key.secrets.arn
    }
  }

  vpc_config {
    subnet_ids              = var.network.control_subnet_ids
    security_group_ids      = [aws_security_group.control_plane.id]
    endpoint_private_access = true
    endpoint_public_access  = false
  }

  upgrade_policy {
    support_type = "STANDARD"
  }

  depends_on = [
    aws_cloudwatch_log_group.control_plane,
    aws_iam_role_policy_attachment.control_plane,
    aws_iam_role_policy.control_plane,
  ]

  lifecycle {
    prevent_destroy = true
  }
}

# Access by entries of EKS, never by a ConfigMap in the cluster. Whoever made the cluster has none of its own.
resource "aws_eks_access_entry" "deployer" {
  for_each      = var.deployers
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.value
}

resource "aws_eks_access_policy_association" "deployer" {
  for_each      = var.deployers
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_eks_access_entry.deployer[each.value].principal_arn
  policy_arn    = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
  access_scope {
    type = "cluster"
  }
}

resource "aws_eks_access_entry" "observer" {
  for_each          = var.observers
  cluster_name      = aws_eks_cluster.this.name
  principal_arn     = each.value
  kubernetes_groups = ["triad-observers"]
}

resource "aws_eks_access_policy_association" "observer" {
  for_each      = var.observers
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_eks_access_entry.observer[each.value].principal_arn
  policy_arn    = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
  access_scope {
    type       = "namespace"
    namespaces = [var.cluster]
  }
}
