package terraform

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// keepers are resources whose loss is a loss of data or of what data is read with: each says prevent_destroy.
var keepers = []string{"aws_eks_cluster", "aws_kms_key", "aws_route53_zone", "aws_ecr_repository", "aws_s3_bucket", "aws_ebs_volume"}

// wayKinds are resources that let packets through or lead them somewhere. Each one is in knownWays: the tests beside the code compare
// those with flows.yaml, so one of another name would be a way that nothing looks at.
var wayKinds = []string{
	"aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule", "aws_security_group_rule", "aws_route", "aws_vpc_peering_connection",
	"aws_vpc_peering_connection_accepter", "aws_internet_gateway", "aws_egress_only_internet_gateway", "aws_nat_gateway", "aws_vpn_gateway", "aws_vpn_connection",
	"aws_ec2_transit_gateway_vpc_attachment", "aws_ec2_transit_gateway_route", "aws_vpc_endpoint_service", "aws_network_acl_rule",
}

// knownWays has the ways of each module by address: a new one is added here together with the assertion that looks at it
// (eks/terraform/*/tests).
var knownWays = map[string][]string{
	"modules/cluster": {
		"aws_vpc_security_group_ingress_rule.flow", "aws_vpc_security_group_egress_rule.flow", "aws_vpc_security_group_egress_rule.front_to_pods",
		"aws_vpc_security_group_ingress_rule.pods_from_front", "aws_vpc_security_group_egress_rule.outward", "aws_vpc_security_group_ingress_rule.api_from_management",
		"aws_vpc_security_group_ingress_rule.nodes_from_nodes", "aws_vpc_security_group_egress_rule.nodes_to_nodes", "aws_vpc_security_group_egress_rule.nodes_to_api",
		"aws_vpc_security_group_egress_rule.nodes_to_services", "aws_vpc_security_group_egress_rule.nodes_to_layers", "aws_vpc_security_group_ingress_rule.api_from_nodes",
		"aws_vpc_security_group_egress_rule.api_to_nodes", "aws_vpc_security_group_ingress_rule.nodes_from_api",
	},
	"modules/link": {"aws_vpc_peering_connection.this", "aws_route.forth", "aws_route.back"},
	"modules/network": {
		"aws_vpc_security_group_ingress_rule.endpoints", "aws_internet_gateway.this", "aws_nat_gateway.this", "aws_route.outward", "aws_route.nodes_outward",
		"aws_ec2_transit_gateway_vpc_attachment.company", "aws_route.management", "aws_route.people",
	},
}

var everybody = regexp.MustCompile(`"(0\.0\.0\.0/0|::/0)"`)

// Judge returns everything that is wrong in the tree, as far as it can be told without evaluating: references to what is not
// declared, arguments that a module does not take or misses, modules that are not in the tree (third-party ones among them), roots
// without a locked remote state, providers without a version, resources that keep data and can be destroyed, security group rules
// that let everybody in, and ways between networks that are in no list.
func (t Tree) Judge() error {
	var errs []error
	if len(t.Roots) == 0 {
		errs = append(errs, fmt.Errorf("%s: no root: no folder has a provider block", t.Dir))
	}
	for _, key := range slices.Sorted(maps.Keys(t.Modules)) {
		m := t.Modules[key]
		errs = append(errs, t.references(m), t.calls(m), m.documented(), m.versions(), m.safety(), m.ways())
		if slices.Contains(t.Roots, key) {
			errs = append(errs, m.backend())
		}
	}
	return errors.Join(errs...)
}

func (t Tree) references(m Module) error {
	var errs []error
	used := map[string]bool{}
	for _, file := range slices.Sorted(maps.Keys(m.Files)) {
		expressions(m.Files[file], func(a Attribute) {
			for _, ref := range references(a.Expr) {
				used[ref] = true
				if why := t.missing(m, ref); why != "" {
					errs = append(errs, fmt.Errorf("%s:%d: %s: %s", file, a.Line, ref, why))
				}
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(m.Variables)) {
		if !used["var."+name] {
			v := m.Variables[name]
			errs = append(errs, fmt.Errorf("%s:%d: variable %s is not used", v.File, v.Line, name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Locals)) {
		if !used["local."+name] {
			errs = append(errs, fmt.Errorf("%s: local.%s is not used", m.Path, name))
		}
	}
	return errors.Join(errs...)
}

// missing says why a reference leads nowhere, or nothing.
func (t Tree) missing(m Module, ref string) string {
	parts := strings.Split(ref, ".")
	switch parts[0] {
	case "var":
		if _, ok := m.Variables[parts[1]]; !ok {
			return "no such variable"
		}
	case "local":
		if _, ok := m.Locals[parts[1]]; !ok {
			return "no such local value"
		}
	case "data":
		if _, ok := m.Data[ref]; !ok {
			return "no such data source"
		}
	case "module":
		call, ok := m.Calls[parts[1]]
		if !ok {
			return "no such module"
		}
		target, ok := t.target(m, call)
		if ok && len(parts) == 3 {
			if _, ok := target.Outputs[parts[2]]; !ok {
				return target.Path + " has no such output"
			}
		}
	default:
		if _, ok := m.Resources[ref]; !ok {
			return "no such resource"
		}
	}
	return ""
}

// target is the module that a call names, when it is in the tree.
func (t Tree) target(m Module, call Place) (Module, bool) {
	source, _ := call.Attribute("source")
	text, ok := source.Text()
	if !ok || !strings.HasPrefix(text, "./") && !strings.HasPrefix(text, "../") {
		return Module{}, false
	}
	target, ok := t.Modules[path.Join(m.Path, text)]
	return target, ok
}

func (t Tree) calls(m Module) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(m.Calls)) {
		call := m.Calls[name]
		fail := func(line int, format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s:%d: module %s: "+format, append([]any{call.File, line, name}, args...)...))
		}
		target, ok := t.target(m, call)
		if !ok {
			source, _ := call.Attribute("source")
			fail(call.Line, "%s is no module of this tree: modules are our own", source.Expr)
			continue
		}
		for _, a := range call.Attributes {
			if slices.Contains([]string{"source", "version", "for_each", "count", "depends_on", "providers"}, a.Name) {
				continue
			}
			if _, ok := target.Variables[a.Name]; !ok {
				fail(a.Line, "%s has no variable %s", target.Path, a.Name)
			}
		}
		for _, v := range slices.Sorted(maps.Keys(target.Variables)) {
			_, optional := target.Variables[v].Attribute("default")
			if _, given := call.Attribute(v); !given && !optional {
				fail(call.Line, "%s needs the variable %s", target.Path, v)
			}
		}
	}
	return errors.Join(errs...)
}

func (m Module) documented() error {
	var errs []error
	for kind, all := range map[string]map[string]Place{"variable": m.Variables, "output": m.Outputs} {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			p := all[name]
			if _, ok := p.Attribute("description"); !ok {
				errs = append(errs, fmt.Errorf("%s:%d: %s %s has no description", p.File, p.Line, kind, name))
			}
			if _, ok := p.Attribute("type"); !ok && kind == "variable" {
				errs = append(errs, fmt.Errorf("%s:%d: variable %s has no type", p.File, p.Line, name))
			}
		}
	}
	return errors.Join(errs...)
}

func (m Module) versions() error {
	required := false
	var providers []Attribute
	for _, s := range m.Settings {
		if _, ok := s.Attribute("required_version"); ok {
			required = true
		}
		for _, p := range s.Of("required_providers") {
			providers = append(providers, p.Attributes...)
		}
	}
	var errs []error
	if !required {
		errs = append(errs, fmt.Errorf("%s: no required_version", m.Path))
	}
	if len(m.Resources)+len(m.Data) > 0 && !slices.ContainsFunc(providers, func(a Attribute) bool { return a.Name == "aws" }) {
		errs = append(errs, fmt.Errorf("%s: the provider aws is not in required_providers", m.Path))
	}
	for _, a := range providers {
		if !regexp.MustCompile(`version\s*=\s*"`).MatchString(a.Expr) {
			errs = append(errs, fmt.Errorf("%s: the provider %s has no version", m.Path, a.Name))
		}
	}
	return errors.Join(errs...)
}

func (m Module) backend() error {
	for _, s := range m.Settings {
		for _, b := range s.Of("backend") {
			lock, _ := b.Attribute("use_lockfile")
			encrypt, _ := b.Attribute("encrypt")
			if lock.Expr != "true" || encrypt.Expr != "true" {
				return fmt.Errorf("%s:%d: the remote state is not locked and encrypted", s.File, b.Line)
			}
			return nil //nolint:staticcheck // a root has one backend
		}
	}
	return fmt.Errorf("%s: a root without remote state", m.Path)
}

func (m Module) safety() error {
	var errs []error
	for _, address := range slices.Sorted(maps.Keys(m.Resources)) {
		r := m.Resources[address]
		if slices.Contains(keepers, r.Labels[0]) {
			kept := false
			for _, l := range r.Of("lifecycle") {
				a, _ := l.Attribute("prevent_destroy")
				kept = kept || a.Expr == "true"
			}
			if !kept {
				errs = append(errs, fmt.Errorf("%s:%d: %s keeps data and has no prevent_destroy", r.File, r.Line, address))
			}
		}
		inbound := r.Labels[0] == "aws_vpc_security_group_ingress_rule" || r.Labels[0] == "aws_security_group" || r.Labels[0] == "aws_security_group_rule"
		if inbound {
			expressions(r.Block, func(a Attribute) {
				if everybody.MatchString(a.Expr) {
					errs = append(errs, fmt.Errorf("%s:%d: %s lets everybody in", r.File, a.Line, address))
				}
			})
		}
		if r.Labels[0] == "aws_security_group" && len(r.Of("ingress"))+len(r.Of("egress")) > 0 {
			errs = append(errs, fmt.Errorf("%s:%d: %s has rules inside: rules are resources of their own, or they overwrite each other", r.File, r.Line, address))
		}
	}
	return errors.Join(errs...)
}

// ways holds the resources through which packets go against the closed list of them.
func (m Module) ways() error {
	var errs []error
	for _, address := range slices.Sorted(maps.Keys(m.Resources)) {
		r := m.Resources[address]
		if slices.Contains(wayKinds, r.Labels[0]) && !slices.Contains(knownWays[m.Path], address) {
			errs = append(errs, fmt.Errorf("%s:%d: %s of %s is a way that is in no list: add it to knownWays in internal/terraform, and an assertion that looks at it", r.File, r.Line, address, m.Path))
		}
		if (r.Labels[0] == "aws_route_table" || r.Labels[0] == "aws_default_route_table") && len(r.Of("route")) > 0 {
			errs = append(errs, fmt.Errorf("%s:%d: %s has routes inside: routes are resources of their own, which are in a list", r.File, r.Line, address))
		}
	}
	return errors.Join(errs...)
}
