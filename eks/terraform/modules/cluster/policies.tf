locals {
  instances  = "arn:aws:ec2:${local.region}:${local.account}:instance/*"
  volumes    = "arn:aws:ec2:${local.region}:${local.account}:volume/*"
  interfaces = "arn:aws:ec2:${local.region}:${local.account}:network-interface/*"
  own        = { StringEquals = { "aws:ResourceTag/triad.dev/cluster" = var.cluster } }

  # Addresses of pods, on the nodes of this cluster.
  network_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Look"
        Effect   = "Allow"
        Action   = ["ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeTags"]
        Resource = "*"
      },
      {
        Sid       = "InterfacesOfOwnNodes"
        Effect    = "Allow"
        Action    = ["ec2:AttachNetworkInterface", "ec2:DetachNetworkInterface", "ec2:ModifyNetworkInterfaceAttribute"]
        Resource  = local.instances
        Condition = local.own
      },
      {
        Sid    = "Interfaces"
        Effect = "Allow"
        Action = [
          "ec2:AssignPrivateIpAddresses", "ec2:AttachNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DetachNetworkInterface",
          "ec2:ModifyNetworkInterfaceAttribute", "ec2:UnassignPrivateIpAddresses",
        ]
        Resource  = local.interfaces
        Condition = { ArnEquals = { "ec2:Vpc" = "arn:aws:ec2:${local.region}:${local.account}:vpc/${var.network.vpc_id}" } }
      },
      # An interface that is to be made is in no network yet: a condition on its network never holds. What it is made of is bound below.
      {
        Sid      = "NewInterfaces"
        Effect   = "Allow"
        Action   = "ec2:CreateNetworkInterface"
        Resource = local.interfaces
      },
      {
        Sid    = "InterfacesInOwnNetwork"
        Effect = "Allow"
        Action = ["ec2:CreateNetworkInterface", "ec2:ModifyNetworkInterfaceAttribute"]
        Resource = [
          "arn:aws:ec2:${local.region}:${local.account}:subnet/*",
          "arn:aws:ec2:${local.region}:${local.account}:security-group/*",
        ]
        Condition = { ArnEquals = { "ec2:Vpc" = "arn:aws:ec2:${local.region}:${local.account}:vpc/${var.network.vpc_id}" } }
      },
      {
        Sid       = "Tags"
        Effect    = "Allow"
        Action    = "ec2:CreateTags"
        Resource  = local.interfaces
        Condition = { StringEquals = { "ec2:CreateAction" = "CreateNetworkInterface" } }
      },
    ]
  }

  # Volumes of this cluster and of no other, known by a tag that the driver sets. It can make, attach and grow them. It can neither delete nor
  # snapshot one: the storage class retains what a claim leaves behind, and a person decides.
  volumes_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Look"
        Effect = "Allow"
        Action = [
          "ec2:DescribeAvailabilityZones", "ec2:DescribeInstances", "ec2:DescribeTags", "ec2:DescribeVolumes", "ec2:DescribeVolumesModifications",
          "ec2:DescribeVolumeStatus",
        ]
        Resource = "*"
      },
      {
        Sid      = "Make"
        Effect   = "Allow"
        Action   = "ec2:CreateVolume"
        Resource = local.volumes
        Condition = {
          StringEquals = { "aws:RequestTag/triad.dev/cluster" = var.cluster, "ec2:VolumeType" = "gp3" }
          Bool         = { "ec2:Encrypted" = "true" }
        }
      },
      {
        Sid       = "TagWhatItMakes"
        Effect    = "Allow"
        Action    = "ec2:CreateTags"
        Resource  = local.volumes
        Condition = { StringEquals = { "ec2:CreateAction" = "CreateVolume" } }
      },
      {
        Sid       = "Use"
        Effect    = "Allow"
        Action    = ["ec2:AttachVolume", "ec2:DetachVolume", "ec2:ModifyVolume"]
        Resource  = local.volumes
        Condition = local.own
      },
      {
        Sid       = "OnOwnNodes"
        Effect    = "Allow"
        Action    = ["ec2:AttachVolume", "ec2:DetachVolume"]
        Resource  = local.instances
        Condition = local.own
      },
      {
        Sid      = "NeverDelete"
        Effect   = "Deny"
        Action   = ["ec2:DeleteVolume", "ec2:DeleteSnapshot"]
        Resource = "*"
      },
      {
        Sid       = "Key"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
        Resource  = aws_kms_key.volumes.arn
        Condition = { StringEquals = { "kms:ViaService" = "ec2.${local.region}.amazonaws.com" } }
      },
      {
        Sid       = "KeyForOwnVolumes"
        Effect    = "Allow"
        Action    = "kms:CreateGrant"
        Resource  = aws_kms_key.volumes.arn
        Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
      },
    ]
  }

  # The account's administrators by IAM; managed node groups start instances with encrypted volumes through the scaling service's role.
  key_owner = {
    Sid       = "Account"
    Effect    = "Allow"
    Principal = { AWS = "arn:aws:iam::${local.account}:root" }
    Action    = "kms:*"
    Resource  = "*"
  }
  scaling = "arn:aws:iam::${local.account}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
  key_policies = {
    secrets = jsonencode({ Version = "2012-10-17", Statement = [local.key_owner] })
    volumes = jsonencode({
      Version = "2012-10-17"
      Statement = [
        local.key_owner,
        {
          Sid       = "NodesVolumes"
          Effect    = "Allow"
          Principal = { AWS = local.scaling }
          Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
          Resource  = "*"
        },
        {
          Sid       = "NodesVolumesGrant"
          Effect    = "Allow"
          Principal = { AWS = local.scaling }
          Action    = "kms:CreateGrant"
          Resource  = "*"
          Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
        },
      ]
    })
  }
}
