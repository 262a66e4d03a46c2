# Rights of the controllers that the overlays need beside EKS's own add-ons. Only text is made here; modules/cluster binds it to roles.

data "aws_region" "here" {}

data "aws_caller_identity" "here" {}

locals {
  account   = data.aws_caller_identity.here.account_id
  region    = data.aws_region.here.name
  name      = "triad-${var.cluster}"
  balancing = "arn:aws:elasticloadbalancing:${local.region}:${local.account}"
  parts     = ["loadbalancer/*", "targetgroup/*", "listener/*", "listener-rule/*"]
  all_parts = [for part in local.parts : "${local.balancing}:${part}"]
  secret    = "arn:aws:secretsmanager:${local.region}:${local.account}:secret:triad"

  # Load balancers of this cluster, known by the tag that the controller sets. No right on security groups: they are Terraform's, the overlays name
  # them, and the controller runs with --enable-backend-security-group=false.
  balancers = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Look"
        Effect = "Allow"
        Action = [
          "acm:DescribeCertificate", "acm:ListCertificates", "ec2:DescribeAvailabilityZones", "ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces",
          "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeTags", "ec2:DescribeVpcs",
          "elasticloadbalancing:DescribeCapacityReservation", "elasticloadbalancing:DescribeListenerAttributes", "elasticloadbalancing:DescribeListenerCertificates",
          "elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeLoadBalancerAttributes",
          "elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeSSLPolicies",
          "elasticloadbalancing:DescribeTags", "elasticloadbalancing:DescribeTargetGroupAttributes", "elasticloadbalancing:DescribeTargetGroups",
          "elasticloadbalancing:DescribeTargetHealth", "elasticloadbalancing:DescribeTrustStores",
        ]
        Resource = "*"
      },
      {
        Sid       = "Make"
        Effect    = "Allow"
        Action    = ["elasticloadbalancing:CreateLoadBalancer", "elasticloadbalancing:CreateTargetGroup"]
        Resource  = local.all_parts
        Condition = { StringEquals = { "aws:RequestTag/elbv2.k8s.aws/cluster" = local.name } }
      },
      {
        Sid      = "TagWhatItMakes"
        Effect   = "Allow"
        Action   = "elasticloadbalancing:AddTags"
        Resource = local.all_parts
        Condition = { StringEquals = {
          "elasticloadbalancing:CreateAction"    = ["CreateListener", "CreateLoadBalancer", "CreateRule", "CreateTargetGroup"]
          "aws:RequestTag/elbv2.k8s.aws/cluster" = local.name
        } }
      },
      {
        Sid    = "Own"
        Effect = "Allow"
        Action = [
          "elasticloadbalancing:AddListenerCertificates", "elasticloadbalancing:AddTags", "elasticloadbalancing:CreateListener",
          "elasticloadbalancing:CreateRule", "elasticloadbalancing:DeleteListener", "elasticloadbalancing:DeleteLoadBalancer",
          "elasticloadbalancing:DeleteRule", "elasticloadbalancing:DeleteTargetGroup", "elasticloadbalancing:DeregisterTargets",
          "elasticloadbalancing:ModifyListener", "elasticloadbalancing:ModifyListenerAttributes", "elasticloadbalancing:ModifyLoadBalancerAttributes",
          "elasticloadbalancing:ModifyRule", "elasticloadbalancing:ModifyTargetGroup", "elasticloadbalancing:ModifyTargetGroupAttributes",
          "elasticloadbalancing:RegisterTargets", "elasticloadbalancing:RemoveListenerCertificates", "elasticloadbalancing:RemoveTags",
          "elasticloadbalancing:SetSecurityGroups", "elasticloadbalancing:SetSubnets",
        ]
        Resource  = local.all_parts
        Condition = { StringEquals = { "aws:ResourceTag/elbv2.k8s.aws/cluster" = local.name } }
      },
    ]
  }

  # Records of the one zone of this cluster.
  names = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "OwnZone"
        Effect   = "Allow"
        Action   = ["route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets", "route53:ListTagsForResource"]
        Resource = var.zone_id == null ? "arn:aws:route53:::hostedzone/none" : "arn:aws:route53:::hostedzone/${var.zone_id}"
      },
      {
        Sid      = "Look"
        Effect   = "Allow"
        Action   = ["route53:ListHostedZones", "route53:ListHostedZonesByName"]
        Resource = "*"
      },
    ]
  }

  # Credentials by name. Only kafka writes: users and the certificate authority are made there by Strimzi, and handed to who needs them.
  secrets = {
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid      = "Read"
        Effect   = "Allow"
        Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
        Resource = [for name in sort(setunion(var.reads, var.writes)) : "${local.secret}/${name}-??????"]
      }],
      [for names in [sort(var.writes)] : {
        # DeleteResourcePolicy: External Secrets takes a policy away that nobody asked it for, each time that it writes to a secret which is there.
        Sid      = "Write"
        Effect   = "Allow"
        Action   = ["secretsmanager:CreateSecret", "secretsmanager:DeleteResourcePolicy", "secretsmanager:PutSecretValue", "secretsmanager:TagResource"]
        Resource = [for name in names : "${local.secret}/${name}-??????"]
      } if length(names) > 0],
    )
  }
}
