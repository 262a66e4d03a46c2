terraform {
  required_version = ">= 1.11.0, < 2.0.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # One state for each root, locked by a file beside it in the bucket. Bucket, region and key come from a file that is not in git:
  # terraform init -backend-config=../backend.hcl -backend-config=key=registry.tfstate   (docs/eks.md)
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account]
  default_tags {
    tags = { "triad.dev/cluster" = "registry", "triad.dev/managed-by" = "eks/terraform/registry" }
  }
}
