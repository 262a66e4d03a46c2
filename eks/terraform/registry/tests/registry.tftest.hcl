# terraform test: plans against made-up answers of AWS, without an account.

mock_provider "aws" {
  source          = "../testing"
  override_during = plan
}

variables {
  account               = "111122223333"
  docker_hub_secret_arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:ecr-pullthroughcache/docker-hub-abcdef"
}

run "images_are_kept_as_they_were" {
  command = plan

  assert {
    condition = alltrue([
      for r in aws_ecr_repository.this : r.image_tag_mutability == "IMMUTABLE" && r.encryption_configuration[0].encryption_type == "KMS" && !r.force_delete
    ]) && alltrue([for t in aws_ecr_repository_creation_template.cached : t.image_tag_mutability == "IMMUTABLE"])
    error_message = "A tag can come to mean another image, or images are not encrypted, or vanish with their repository."
  }
}

run "every_image_of_the_manifests_has_a_place" {
  command = plan

  # images.yaml has the references, the overlays put the registry and a prefix in front of them.
  assert {
    condition = alltrue([
      for image in yamldecode(file("../../../manifests/images.yaml")).images : anytrue([
        startswith(image.reference, "quay.io/") && contains(keys(output.prefixes), "quay"),
        (startswith(image.reference, "docker.io/") || startswith(image.reference, "fluent/")) && contains(keys(output.prefixes), "dockerhub"),
        startswith(image.reference, "docker.elastic.co/") && contains(keys(output.prefixes), "elastic/${trimprefix(split(":", image.reference)[0], "docker.elastic.co/")}"),
        startswith(image.reference, "cr.fluentbit.io/") && contains(keys(output.prefixes), "fluentbit/${trimprefix(split(":", image.reference)[0], "cr.fluentbit.io/")}"),
        contains(keys(output.prefixes), split(":", image.reference)[0]),
      ])
    ])
    error_message = "An image of manifests/images.yaml is in no repository and behind no cache."
  }
}

run "without_a_token_docker_hub_is_not_cached" {
  command = plan
  variables {
    docker_hub_secret_arn = null
  }

  assert {
    condition     = !contains(keys(output.prefixes), "dockerhub")
    error_message = "ECR refuses a cache of Docker Hub without a token."
  }
}
