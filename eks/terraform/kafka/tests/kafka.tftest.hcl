# terraform test: plans against made-up answers of AWS, without an account. What is asserted is read back from the planned resources.

mock_provider "aws" {
  source          = "../testing"
  override_during = plan
}

# Ends of rules, by which the test below tells one group from another.
override_resource {
  target          = module.cluster.aws_security_group.nodes
  override_during = plan
  values          = { id = "sg-00000000000000001" }
}

override_resource {
  target          = module.cluster.aws_security_group.control_plane
  override_during = plan
  values          = { id = "sg-00000000000000002" }
}

override_resource {
  target          = module.network.aws_security_group.endpoints
  override_during = plan
  values          = { id = "sg-00000000000000003" }
}

override_resource {
  target          = module.network.aws_vpc_endpoint.s3
  override_during = plan
  values          = { prefix_list_id = "pl-00000000" }
}

variables {
  account    = "111122223333"
  management = { gateway_id = "tgw-0123456789abcdef0", cidr = "198.51.100.0/24" }
  deployers  = ["arn:aws:iam::111122223333:role/argocd"]
  observers  = ["arn:aws:iam::111122223333:role/harness"]
}

# The expected rules are made here from the file alone, in another way than modules/plan makes them, and compared as sets in both directions.
run "security_group_rules_equal_the_flows" {
  command = plan

  assert {
    condition = output.security.rules.flow_ingress == null ? false : toset(flatten([
      for f in yamldecode(file("../../../manifests/flows.yaml")).flows : [
        for port in f.ports.eks : join("|", [f.name, f.from.cluster == "outside" ? "" : { datacenter = "10.64.0.0/18", kafka = "10.65.0.0/18", monitoring = "10.66.0.0/18" }[f.from.cluster], f.to.component == "grafana" || f.to.component == "kibana" ? "views" : f.to.component, port])
      ] if f.to.cluster == "kafka"
      ])) == toset(flatten([
      for r in output.security.rules.flow_ingress : [for name in split(", ", trimprefix(r.description, "flows: ")) : join("|", [name, r.cidr, r.group, r.from])]
    ]))
    error_message = "Rules of the load balancers and flows to kafka differ."
  }

  assert {
    condition = toset(flatten([
      for f in yamldecode(file("../../../manifests/flows.yaml")).flows : [
        for port in f.ports.eks : join("|", [f.name, { datacenter = "10.64.64.0/24", kafka = "10.65.64.0/24", monitoring = "10.66.64.0/24" }[f.to.cluster], port])
      ] if f.from.cluster == "kafka"
      ])) == toset(flatten([
      for r in output.security.rules.flow_egress : [for name in split(", ", trimprefix(r.description, "flows: ")) : join("|", [name, r.cidr, r.from])]
    ]))
    error_message = "Rules of the nodes and flows from kafka differ."
  }

  assert {
    condition     = length(output.security.rules.flow_ingress) == 2 && length(output.security.rules.flow_egress) == 1
    error_message = "As of today kafka has 2 rules in and 1 out: a flow was added or taken away, and somebody should have looked."
  }

  assert {
    condition = alltrue([
      for r in concat(values(output.security.rules.flow_ingress), values(output.security.rules.flow_egress)) :
      r.protocol == "tcp" && r.from == r.to && !endswith(r.cidr, "/0")
    ])
    error_message = "A rule is not one TCP port for one range."
  }

  assert {
    condition     = alltrue([for r in output.security.rules.flow_ingress : contains(keys(output.overlay.fronts), r.group)]) && length(output.overlay.fronts) == length(toset([for r in output.security.rules.flow_ingress : r.group]))
    error_message = "There are load balancer groups without a rule, or rules without a group."
  }

  assert {
    condition = { for key, r in output.security.rules.front_to_pods : key => r.from } == {
      for component in toset([for f in yamldecode(file("../../../manifests/flows.yaml")).flows : f.to.component if f.to.cluster == "kafka"]) :
      component => { kafka = 9094, prometheus = 9090, grafana = 3000, kibana = 5601 }[component]
    } && output.security.rules.front_to_pods == output.security.rules.pods_from_front
    error_message = "Behind the load balancers there is not exactly one way to the pods of each component."
  }

  assert {
    condition     = join(" ", output.security.rules.management) == "198.51.100.0/24" && join(" ", output.security.rules.outward) == join(" ", ["0.0.0.0/0"])
    error_message = "The API server is open to more than management, or nodes to more than they should be."
  }
}

run "api_server_has_no_public_address" {
  command = plan

  assert {
    condition     = !output.security.public_access && output.security.private_access
    error_message = "The API server of kafka has a public address."
  }
}

run "three_zones" {
  command = plan

  assert {
    condition     = join(" ", output.network.zones) == "eu-central-1a eu-central-1b eu-central-1c"
    error_message = "Not three zones, or their order depends on AWS' answer."
  }

  assert {
    condition     = length(output.network.link_subnets) == 3 && length(toset(output.network.link_subnets)) == 3
    error_message = "Load balancers do not stand in three zones."
  }

  assert {
    condition = alltrue([
      for pool in ["brokers"] : toset([for g in output.security.groups : g.zone if g.pool == pool]) == toset([0, 1, 2])
    ])
    error_message = "A pool with volumes has no nodes in one of the zones."
  }
}

run "everything_kept_is_encrypted" {
  command = plan

  assert {
    condition     = join(" ", output.security.encryption.secrets) == "secrets"
    error_message = "Secrets are not encrypted with a key of our own."
  }

  assert {
    condition     = alltrue([for pool, on in output.security.encryption.node_volumes : on == "true"]) && toset(keys(output.security.encryption.node_volumes)) == toset(["brokers", "system"])
    error_message = "A pool's volumes are not encrypted."
  }

  assert {
    condition     = alltrue([for key in output.security.encryption.keys : key.rotation])
    error_message = "A key is not rotated."
  }
}

# prevent_destroy cannot be seen in a plan; internal/terraform reads it from the files.
run "what_keeps_data_is_hard_to_delete" {
  command = plan

  assert {
    condition     = alltrue([for key in output.security.encryption.keys : key.window == 30])
    error_message = "A key is gone before anybody notices."
  }

  assert {
    condition = alltrue([
      for s in jsondecode(output.policies.volumes).Statement : s.Effect == "Deny" || alltrue([for a in flatten([s.Action]) : !startswith(a, "ec2:Delete") && a != "ec2:*" && a != "*"])
    ]) && contains(flatten([for s in jsondecode(output.policies.volumes).Statement : s.Action if s.Effect == "Deny"]), "ec2:DeleteVolume")
    error_message = "The volume driver may delete volumes."
  }

  assert {
    condition     = alltrue([for g in output.security.groups : g.unavailable == 1 && !g.forced])
    error_message = "An update of a pool takes several nodes at once, or ignores disruption budgets."
  }
}

run "rights_are_least" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for name, policy in output.policies : [
        for s in jsondecode(policy).Statement : s.Effect == "Deny" || (
          alltrue([for a in flatten([s.Action]) : !endswith(a, ":*") && a != "*"]) &&
          (flatten([s.Resource]) != ["*"] || alltrue([for a in flatten([s.Action]) : can(regex(":(Describe|List|GetAuthorizationToken)", a))]))
        )
      ]
    ]))
    error_message = "A service account may do anything, or something to everything that is more than looking."
  }

  assert {
    condition     = toset(keys(output.policies)) == toset(["network", "volumes", "secrets", "balancers", "names"])
    error_message = "Other service accounts have rights in AWS than should."
  }

  assert {
    condition = alltrue(flatten([
      for s in jsondecode(output.policies.secrets).Statement : s.Sid == "Read" || s.Sid == "Write"
    ]))
    error_message = "A cluster other than kafka writes credentials."
  }

  assert {
    condition     = alltrue([for pool, m in output.security.metadata_tokens : m.tokens == "required" && m.hops == 1])
    error_message = "Pods can borrow the rights of their node."
  }
}

# What AWS would refuse and made-up answers let through.
run "rights_suffice" {
  command = plan

  # The network of an interface is a condition that a request to make one does not meet; that of its subnet and its groups is one that it does.
  assert {
    condition = {
      for s in jsondecode(output.policies.network).Statement : join(" ", sort(distinct([for r in flatten([s.Resource]) : split(":", split("/", r)[0])[5]]))) => keys(try(s.Condition.ArnEquals, {}))
      if contains(flatten([s.Action]), "ec2:CreateNetworkInterface")
    } == { "network-interface" = [], "security-group subnet" = ["ec2:Vpc"] }
    error_message = "The network add-on cannot make an interface, or makes it in another network."
  }

  assert {
    condition = length(setsubtract(
      [for a in ["CreateSecret", "DeleteResourcePolicy", "DescribeSecret", "GetSecretValue", "PutSecretValue", "TagResource"] : "secretsmanager:${a}"],
      flatten([for s in jsondecode(output.policies.secrets).Statement : s.Action])
    )) == 0
    error_message = "External Secrets cannot do all that it does when it hands a secret on."
  }
}

run "isolation_is_enforced_and_seen" {
  command = plan

  assert {
    condition     = output.security.network_policies_enforced
    error_message = "NetworkPolicies are accepted and not enforced."
  }

  assert {
    condition     = join(" ", output.security.log_types) == join(" ", ["api", "audit", "authenticator", "controllerManager", "scheduler"])
    error_message = "Logs of the control plane are not kept."
  }
}

run "a_broker_a_zone_alone_on_its_node" {
  command = plan

  assert {
    condition     = output.overlay.pools.brokers.tainted && sum([for g in output.security.groups : g.nodes if g.pool == "brokers"]) == 3
    error_message = "Brokers share nodes with something else, or there are not three."
  }
}

run "names_of_the_flows_are_in_the_zone" {
  command = plan

  assert {
    condition = alltrue([
      for f in yamldecode(file("../../../manifests/flows.yaml")).flows : endswith(f.via.host, ".${output.overlay.domain}") if f.to.cluster == "kafka" && can(f.via.host)
    ])
    error_message = "A flow names a host outside the private zone of its target."
  }
}

# Nothing is closed that nobody looks at: what crosses no network is said here, one by one.
run "rules_inside_the_network_are_these" {
  command = plan

  assert {
    condition = toset([
      for key, r in output.security.rules.inside : join("|", [key, r.group, r.protocol == "-1" ? "all" : "${r.protocol} ${r.from}-${r.to}", r.end])
      ]) == toset([
      "nodes_from_nodes|nodes|all|nodes", "nodes_to_nodes|nodes|all|nodes",
      "nodes_to_api|nodes|tcp 443-443|api", "nodes_to_services|nodes|tcp 443-443|services", "nodes_to_layers|nodes|tcp 443-443|layers",
      "api_from_nodes|api|tcp 443-443|nodes",
      "api_to_nodes_kubelet|api|tcp 10250-10250|nodes", "api_to_nodes_webhooks|api|tcp 9443-9443|nodes",
      "nodes_from_api_kubelet|nodes|tcp 10250-10250|api", "nodes_from_api_webhooks|nodes|tcp 9443-9443|api",
    ]) && alltrue([for r in output.security.rules.inside : r.ranges == 0])
    error_message = "A rule inside the network is wider than, or another than, what this file lists."
  }
}

run "access_is_by_entries" {
  command = plan

  assert {
    condition     = output.security.access.mode == "API" && !output.security.access.creator_admin
    error_message = "Somebody gets into the cluster without an access entry."
  }

  assert {
    condition     = join(" ", output.security.access.entries) == "arn:aws:iam::111122223333:role/argocd arn:aws:iam::111122223333:role/harness"
    error_message = "Other principals than deployers and observers have an entry, or one of them has none."
  }

  assert {
    condition = toset([for a in output.security.access.policies : join("|", [a.principal, reverse(split("/", a.policy))[0], a.scope, a.namespaces])]) == toset([
      "arn:aws:iam::111122223333:role/argocd|AmazonEKSClusterAdminPolicy|cluster|",
      "arn:aws:iam::111122223333:role/harness|AmazonEKSViewPolicy|namespace|kafka",
    ]) && output.security.access.groups["arn:aws:iam::111122223333:role/harness"] == "triad-observers"
    error_message = "Deployers or observers may do something else than they should: observers look at one namespace."
  }
}

run "roles_of_the_platform_are_least" {
  command = plan

  # The whole list of what each may do. Only a token, which says nothing of what may be pulled with it, is for everything.
  assert {
    condition = {
      for name, r in output.security.roles : name => join(" ", sort(flatten([for s in jsondecode(r.rights).Statement : s.Action])))
      } == {
      node          = "ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:GetAuthorizationToken ecr:GetDownloadUrlForLayer"
      control_plane = "kms:CreateGrant kms:Decrypt kms:DescribeKey kms:Encrypt"
      connections   = "logs:CreateLogStream logs:DescribeLogGroups logs:DescribeLogStreams logs:PutLogEvents"
    }
    error_message = "A role of the nodes, the control plane or the log of connections may do more, or less, than this file lists."
  }

  assert {
    condition = alltrue(flatten([
      for r in output.security.roles : [
        for s in jsondecode(r.rights).Statement : s.Effect == "Allow" && (!contains(flatten([s.Resource]), "*") || flatten([s.Action]) == ["ecr:GetAuthorizationToken"])
      ]
    ]))
    error_message = "A role of the platform may do something to everything."
  }

  assert {
    condition = {
      for name, r in output.security.roles : name => join(" ", concat(
        [for s in jsondecode(r.trust).Statement : "${s.Action} ${s.Principal.Service}"], [for arn in r.managed : reverse(split("/", arn))[0]],
      ))
      } == {
      node          = "sts:AssumeRole ec2.amazonaws.com AmazonEKSWorkerNodePolicy"
      control_plane = "sts:AssumeRole eks.amazonaws.com AmazonEKSClusterPolicy"
      connections   = "sts:AssumeRole vpc-flow-logs.amazonaws.com"
    }
    error_message = "Somebody else may take a role of the platform, or a managed policy is added to one."
  }
}

run "addons_are_there" {
  command = plan

  assert {
    condition     = join(" ", output.security.addons) == "aws-ebs-csi-driver coredns eks-pod-identity-agent kube-proxy vpc-cni"
    error_message = "An add-on is missing: pods get no volumes, names, identities or addresses."
  }
}
