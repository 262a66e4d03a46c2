# What AWS would answer, where the provider checks the form or a test needs a value. Everything else is made up by terraform test.

mock_data "aws_availability_zones" {
  defaults = { names = ["eu-central-1c", "eu-central-1a", "eu-central-1b"] }
}

mock_data "aws_region" {
  defaults = { name = "eu-central-1" }
}

mock_data "aws_caller_identity" {
  defaults = { account_id = "111122223333" }
}

mock_data "aws_vpc" {
  defaults = { id = "vpc-0123456789abcdef0" }
}

mock_data "aws_route53_zone" {
  defaults = { zone_id = "Z0123456789ABCDEFGHIJ" }
}

mock_resource "aws_vpc" {
  defaults = { id = "vpc-0fedcba9876543210" }
}

mock_resource "aws_kms_key" {
  defaults = { arn = "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-0000-0000-000000000000" }
}

mock_resource "aws_iam_role" {
  defaults = { arn = "arn:aws:iam::111122223333:role/mocked" }
}

mock_resource "aws_cloudwatch_log_group" {
  defaults = { arn = "arn:aws:logs:eu-central-1:111122223333:log-group:mocked" }
}

mock_resource "aws_launch_template" {
  defaults = { id = "lt-0123456789abcdef0", latest_version = 1 }
}

mock_resource "aws_eks_cluster" {
  defaults = { arn = "arn:aws:eks:eu-central-1:111122223333:cluster/mocked" }
}

mock_data "aws_eks_addon_version" {
  defaults = { version = "v1.0.0-eksbuild.1" }
}

mock_resource "aws_route53_zone" {
  defaults = { zone_id = "Z0FEDCBA9876543210000" }
}
