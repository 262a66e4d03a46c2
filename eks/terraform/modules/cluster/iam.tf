# Every right written out. Managed policies of AWS appear where EKS demands them by name, and there only.
#
# Pod Identity and not IRSA: the binding of a service account to a role stands here and not in an annotation, so the manifests of kind and EKS do
# not differ by it; a closed network needs one interface (eks-auth) and no public issuer of tokens; and every session carries the cluster, the
# namespace and the service account, by which the trust below is bound to one of each.

resource "aws_iam_role" "control_plane" {
  name = "${local.name}-control-plane"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "eks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "control_plane" {
  role       = aws_iam_role.control_plane.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
}

resource "aws_iam_role_policy" "control_plane" {
  name = "secrets"
  role = aws_iam_role.control_plane.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "SecretsKey"
      Effect   = "Allow"
      Action   = ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey", "kms:CreateGrant"]
      Resource = aws_kms_key.secrets.arn
    }]
  })
}

resource "aws_iam_role" "node" {
  name = "${local.name}-node"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy_attachment" "node" {
  role       = aws_iam_role.node.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"
}

# Nodes pull and do no more: the first pull of a cached image, which makes its repository, is a pipeline's right (docs/eks.md).
locals {
  repositories = "arn:aws:ecr:${local.region}:${local.account}:repository"
  node_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Token"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid    = "Pull"
        Effect = "Allow"
        Action = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = concat(
          [for prefix in ["quay", "dockerhub", "elastic", "fluentbit", "platform", "triad"] : "${local.repositories}/${prefix}/*"],
          ["arn:aws:ecr:${local.region}:${var.addon_registry_account}:repository/*"],
        )
      },
    ]
  }
}

resource "aws_iam_role_policy" "node" {
  name   = "images"
  role   = aws_iam_role.node.id
  policy = jsonencode(local.node_policy)
}

locals {
  # What every cluster has; roots add theirs.
  identities = merge(var.identities, {
    network = { namespace = "kube-system", service_account = "aws-node", policy = jsonencode(local.network_policy) }
    volumes = { namespace = "kube-system", service_account = "ebs-csi-controller-sa", policy = jsonencode(local.volumes_policy) }
  })
  # The add-ons bind their own accounts; EKS refuses a second binding.
  bound_by_addons = ["network", "volumes"]
}

resource "aws_iam_role" "workload" {
  for_each = local.identities
  name     = "${local.name}-${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount"                         = local.account
          "aws:RequestTag/kubernetes-namespace"       = each.value.namespace
          "aws:RequestTag/kubernetes-service-account" = each.value.service_account
        }
        ArnEquals = { "aws:SourceArn" = "arn:aws:eks:${local.region}:${local.account}:cluster/${local.name}" }
      }
    }]
  })
}

resource "aws_iam_role_policy" "workload" {
  for_each = local.identities
  name     = "rights"
  role     = aws_iam_role.workload[each.key].id
  policy   = each.value.policy
}

resource "aws_eks_pod_identity_association" "this" {
  for_each        = { for name, i in local.identities : name => i if !contains(local.bound_by_addons, name) }
  cluster_name    = aws_eks_cluster.this.name
  namespace       = each.value.namespace
  service_account = each.value.service_account
  role_arn        = aws_iam_role.workload[each.key].arn
}
