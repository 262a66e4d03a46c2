locals {
  # One managed node group for each pool and zone.
  groups = merge([
    for pool, p in var.pools : { for zone in p.zones : "${pool}-${zone}" => { pool = pool, zone = zone } }
  ]...)
}

resource "aws_launch_template" "pool" {
  for_each               = var.pools
  name_prefix            = "${local.name}-${each.key}-"
  update_default_version = true
  vpc_security_group_ids = concat([aws_security_group.nodes.id], each.value.outward ? aws_security_group.outward[*].id : [])

  # Pods have identities of their own: with one hop they cannot borrow the node's.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_type           = "gp3"
      volume_size           = each.value.disk_gib
      iops                  = each.value.disk_iops
      throughput            = each.value.disk_mbps
      encrypted             = "true"
      kms_key_id            = aws_kms_key.volumes.arn
      delete_on_termination = "true"
    }
  }

  dynamic "tag_specifications" {
    for_each = ["instance", "volume", "network-interface"]
    content {
      resource_type = tag_specifications.value
      tags          = { Name = "${local.name}-${each.key}", "triad.dev/cluster" = var.cluster, "triad.dev/pool" = each.key }
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_eks_node_group" "this" {
  for_each               = local.groups
  cluster_name           = aws_eks_cluster.this.name
  node_group_name_prefix = "${each.key}-"
  node_role_arn          = aws_iam_role.node.arn
  subnet_ids             = [var.network.node_subnet_ids[each.value.zone]]
  instance_types         = [var.pools[each.value.pool].instance]
  ami_type               = "AL2023_x86_64_STANDARD"
  capacity_type          = "ON_DEMAND"
  labels                 = { "triad.dev/pool" = each.value.pool }

  launch_template {
    id      = aws_launch_template.pool[each.value.pool].id
    version = aws_launch_template.pool[each.value.pool].latest_version
  }

  scaling_config {
    min_size     = var.pools[each.value.pool].size
    desired_size = var.pools[each.value.pool].size
    max_size     = var.pools[each.value.pool].size + 1
  }

  # One node at a time, and pod disruption budgets are obeyed: a broker leaves only when the others are whole.
  update_config {
    max_unavailable = 1
  }
  force_update_version = false

  dynamic "taint" {
    for_each = var.pools[each.value.pool].tainted ? [1] : []
    content {
      key    = "triad.dev/pool"
      value  = each.value.pool
      effect = "NO_SCHEDULE"
    }
  }

  # The network add-on gets its rights from the identity agent: both are there when the first node asks.
  depends_on = [aws_iam_role_policy_attachment.node, aws_iam_role_policy.node, aws_eks_addon.network, aws_eks_addon.identity]

  lifecycle {
    create_before_destroy = true
  }
}

# The network add-on comes before the nodes: it enforces the NetworkPolicies of the bases. In mode standard a new pod is open until its policies have
# been worked out, which begins when it has its address; strict would keep it closed until then, and pods of kube-system with it.
resource "aws_eks_addon" "network" {
  cluster_name  = aws_eks_cluster.this.name
  addon_name    = "vpc-cni"
  addon_version = data.aws_eks_addon_version.this["vpc-cni"].version
  configuration_values = jsonencode({
    enableNetworkPolicy = "true"
    env                 = { NETWORK_POLICY_ENFORCING_MODE = "standard" }
  })
  pod_identity_association {
    role_arn        = aws_iam_role.workload["network"].arn
    service_account = "aws-node"
  }
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
}

resource "aws_eks_addon" "identity" {
  cluster_name  = aws_eks_cluster.this.name
  addon_name    = "eks-pod-identity-agent"
  addon_version = data.aws_eks_addon_version.this["eks-pod-identity-agent"].version
}

resource "aws_eks_addon" "proxy" {
  cluster_name  = aws_eks_cluster.this.name
  addon_name    = "kube-proxy"
  addon_version = data.aws_eks_addon_version.this["kube-proxy"].version
}

resource "aws_eks_addon" "names" {
  cluster_name  = aws_eks_cluster.this.name
  addon_name    = "coredns"
  addon_version = data.aws_eks_addon_version.this["coredns"].version
  depends_on    = [aws_eks_node_group.this]
}

resource "aws_eks_addon" "volumes" {
  cluster_name  = aws_eks_cluster.this.name
  addon_name    = "aws-ebs-csi-driver"
  addon_version = data.aws_eks_addon_version.this["aws-ebs-csi-driver"].version
  configuration_values = jsonencode({
    controller = { extraVolumeTags = { "triad.dev/cluster" = var.cluster } }
  })
  pod_identity_association {
    role_arn        = aws_iam_role.workload["volumes"].arn
    service_account = "ebs-csi-controller-sa"
  }
  depends_on = [aws_eks_node_group.this]
}

# The version that EKS recommends for the cluster's own, not the newest.
data "aws_eks_addon_version" "this" {
  for_each           = toset(["vpc-cni", "eks-pod-identity-agent", "kube-proxy", "coredns", "aws-ebs-csi-driver"])
  addon_name         = each.value
  kubernetes_version = var.kubernetes_version
  most_recent        = false
}
