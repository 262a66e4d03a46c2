package probe

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// clusterName is how Kafka names the one resource of type cluster.
const clusterName = "kafka-cluster"

// describeACLs asks for all rules of the brokers, which takes Describe on the cluster.
func (b *brokerProbe) describeACLs(ctx context.Context, s *session) (answer, *kmsg.DescribeACLsResponse) {
	req := kmsg.NewPtrDescribeACLsRequest()
	req.ResourceType, req.ResourcePatternType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
	req.Operation, req.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	resp, err := ask[*kmsg.DescribeACLsResponse](ctx, s, req)
	if err != nil {
		return unanswered(err), nil
	}
	return judgeCode(resp.ErrorCode, kerr.ClusterAuthorizationFailed, nil), resp
}

// compare holds the brokers' own list of rules against the declared ones: it finds rules of principals that nobody declared, on
// resources that nobody thought of.
func (b *brokerProbe) compare(list *kmsg.DescribeACLsResponse, harness bool) []Result {
	declared, owner := map[string]bool{}, map[string]bool{}
	for _, p := range b.d.Principals {
		for _, r := range p.Rules {
			name, pattern := r.Name, "literal"
			if r.Prefix {
				pattern = "prefix"
			}
			if r.Type == "cluster" {
				name = clusterName
			}
			for _, op := range r.Operations {
				k := binding("User:"+p.Name, r.Type, pattern, name, op, r.Deny)
				declared[k] = true
				owner[k] = p.Harness
			}
		}
	}
	found := map[string]bool{}
	for _, res := range list.Resources {
		pattern := "literal"
		if res.ResourcePatternType == kmsg.ACLResourcePatternTypePrefixed {
			pattern = "prefix"
		}
		for _, a := range res.ACLs {
			k := binding(a.Principal, typeName(res.ResourceType), pattern, res.ResourceName, operationName(a.Operation), a.PermissionType == kmsg.ACLPermissionTypeDeny)
			if a.Host != "*" {
				k += " from " + a.Host
			}
			found[k] = true
		}
	}
	var out []Result
	attrs := map[string]string{"method": methodListed}
	for _, k := range slices.Sorted(maps.Keys(found)) {
		if !declared[k] {
			out = append(out, Result{Kind: KindACL, Name: "rule " + k, State: Open, Detail: "in the brokers' list and not in the manifests", Attrs: attrs})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(declared)) {
		if !found[k] {
			out = append(out, Result{Kind: KindACL, Name: "rule " + k, State: Closed, Declared: true, Harness: owner[k], Detail: "in the manifests and not in the brokers' list", Attrs: attrs})
		}
	}
	if len(out) == 0 {
		out = append(out, Result{
			Kind: KindACL, Name: "rules that are not declared", State: Closed, Harness: harness, Attrs: attrs,
			Detail: fmt.Sprintf("the brokers list %d rules, which are those of the manifests", len(found)),
		})
	}
	return out
}

func binding(principal, typ, pattern, name, op string, deny bool) string {
	may := "may"
	if deny {
		may = "may not"
	}
	return fmt.Sprintf("%s %s %s %s %s %s", principal, may, op, typ, pattern, name)
}

func typeName(t kmsg.ACLResourceType) string {
	switch t {
	case kmsg.ACLResourceTypeTopic:
		return "topic"
	case kmsg.ACLResourceTypeGroup:
		return "group"
	case kmsg.ACLResourceTypeCluster:
		return "cluster"
	case kmsg.ACLResourceTypeTransactionalId:
		return "transactionalId"
	}
	return strings.ToLower(t.String())
}

func operationName(o kmsg.ACLOperation) string {
	if o == kmsg.ACLOperationAll {
		return opAll
	}
	for name, bit := range operationBit {
		if bit == o {
			return name
		}
	}
	return o.String()
}
