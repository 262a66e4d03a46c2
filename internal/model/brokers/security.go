package brokers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"math/rand/v2"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// internalUser creates the topics; it exists only when clients have to log in.
const internalUser = "__triad"

// fillPasswords gives every user without a password one of 32 letters, as Strimzi's user operator does.
func (c *Cluster) fillPasswords() {
	rng := rand.New(rand.NewPCG(c.opts.Seed, 0x70617373)) //nolint:gosec // a password of a model on loopback, reproducible on purpose
	word := func() string {
		b := make([]byte, 32)
		for i := range b {
			b[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[rng.IntN(62)]
		}
		return string(b)
	}
	c.secret = crand.Text()
	users := make([]User, len(c.cfg.Users))
	for i, u := range c.cfg.Users {
		generated := word()
		if u.Password == "" {
			u.Password = generated
		}
		if u.Mechanism == "" {
			u.Mechanism = "SCRAM-SHA-512"
		}
		users[i] = u
	}
	c.cfg.Users = users
}

// Password returns the password of a user, "" when there is no such user.
func (c *Cluster) Password(user string) string {
	for _, u := range c.cfg.Users {
		if u.Name == user {
			return u.Password
		}
	}
	return ""
}

// securityOptions are the users and ACLs.
func (c *Cluster) securityOptions() []kfake.Opt {
	if !c.cfg.Authenticate {
		return nil
	}
	opts := []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("PLAIN", internalUser, c.secret)}
	if c.cfg.Authorize {
		opts = append(opts, kfake.EnableACLs())
	}
	for _, u := range c.cfg.Users {
		if u.Super {
			opts = append(opts, kfake.Superuser(u.Mechanism, u.Name, u.Password))
			continue
		}
		var acls []kfake.ACL
		for _, a := range u.ACLs {
			for _, op := range a.Operations {
				acl := kfake.ACL{Name: a.Name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: aclOperation(op), Resource: aclResource(a.Resource), Allow: !a.Deny}
				if a.Prefix {
					acl.Pattern = kmsg.ACLResourcePatternTypePrefixed
				}
				if acl.Resource == kmsg.ACLResourceTypeCluster {
					acl.Name = "kafka-cluster"
				}
				acls = append(acls, acl)
			}
		}
		opts = append(opts, kfake.User(u.Mechanism, u.Name, u.Password, acls...))
	}
	return opts
}

func aclResource(name string) kmsg.ACLResourceType {
	switch name {
	case "topic":
		return kmsg.ACLResourceTypeTopic
	case "group":
		return kmsg.ACLResourceTypeGroup
	case "cluster":
		return kmsg.ACLResourceTypeCluster
	case "transactionalId":
		return kmsg.ACLResourceTypeTransactionalId
	}
	return kmsg.ACLResourceTypeUnknown
}

func aclOperation(name string) kmsg.ACLOperation {
	switch name {
	case "All":
		return kmsg.ACLOperationAll
	case "Read":
		return kmsg.ACLOperationRead
	case "Write":
		return kmsg.ACLOperationWrite
	case "Create":
		return kmsg.ACLOperationCreate
	case "Delete":
		return kmsg.ACLOperationDelete
	case "Alter":
		return kmsg.ACLOperationAlter
	case "Describe":
		return kmsg.ACLOperationDescribe
	case "ClusterAction":
		return kmsg.ACLOperationClusterAction
	case "DescribeConfigs":
		return kmsg.ACLOperationDescribeConfigs
	case "AlterConfigs":
		return kmsg.ACLOperationAlterConfigs
	case "IdempotentWrite":
		return kmsg.ACLOperationIdempotentWrite
	}
	return kmsg.ACLOperationUnknown
}

// selfSigned makes an authority and a certificate for 127.0.0.1 and localhost that it signed, valid for a day.
func selfSigned() (*tls.Config, []byte, error) {
	now := time.Now()
	make1 := func(tmpl, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
		if err != nil {
			return nil, nil, err
		}
		if signer == nil {
			signer = key
		}
		der, err := x509.CreateCertificate(crand.Reader, tmpl, parent, &key.PublicKey, signer)
		return der, key, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cluster-ca"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, caKey, err := make1(ca, ca, nil)
	if err != nil {
		return nil, nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "broker"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, key, err := make1(leaf, ca, caKey)
	if err != nil {
		return nil, nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return cfg, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), nil
}
