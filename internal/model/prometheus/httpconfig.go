package prometheus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// HTTPConfig is the modelled part of Prometheus's HTTP client options. Files are read below Options.Root.
type HTTPConfig struct {
	User, UserFile         string
	Password, PasswordFile string
	AuthType               string // of the Authorization header, default Bearer
	Credentials            string
	CredentialsFile        string
	CAFile                 string
	CertFile, KeyFile      string
	ServerName             string
	InsecureSkipVerify     bool
}

func parseHTTPConfig(s section) HTTPConfig {
	var h HTTPConfig
	if b, ok := s.child("basic_auth"); ok {
		b.text("username", &h.User)
		b.text("username_file", &h.UserFile)
		b.text("password", &h.Password)
		b.text("password_file", &h.PasswordFile)
		b.rest("unknown key of basic_auth")
	}
	if a, ok := s.child("authorization"); ok {
		h.AuthType = "Bearer"
		a.text("type", &h.AuthType)
		a.text("credentials", &h.Credentials)
		a.text("credentials_file", &h.CredentialsFile)
		a.rest("unknown key of authorization")
	}
	if t, ok := s.child("tls_config"); ok {
		t.text("ca_file", &h.CAFile)
		t.text("cert_file", &h.CertFile)
		t.text("key_file", &h.KeyFile)
		t.text("server_name", &h.ServerName)
		t.flag("insecure_skip_verify", &h.InsecureSkipVerify)
		t.rest("TLS is the one of the Go standard library with its defaults")
	}
	s.accept("follow_redirects", "enable_http2")
	return h
}

// dialer is the shape of every Dial option of the models.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// files reads what a configuration names.
type files struct{ root string }

func (f files) path(p string) string { return filepath.Join(f.root, p) }

func (f files) secret(literal, file string) (string, error) {
	if file == "" {
		return literal, nil
	}
	b, err := os.ReadFile(f.path(file))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// transport makes the connection part of a client: one idle connection per host is kept, as the real program does.
func (h HTTPConfig) transport(f files, dial dialer) (*http.Transport, error) {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 30 * time.Second}).DialContext
	}
	t := &http.Transport{
		DialContext: dial, MaxIdleConnsPerHost: 16, IdleConnTimeout: 5 * time.Minute,
		TLSHandshakeTimeout: 10 * time.Second, DisableCompression: false,
	}
	cfg := &tls.Config{ServerName: h.ServerName, InsecureSkipVerify: h.InsecureSkipVerify} //nolint:gosec // the manifest decides
	if h.CAFile != "" {
		pem, err := os.ReadFile(f.path(h.CAFile))
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New(h.CAFile + ": no certificate")
		}
	}
	if h.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(f.path(h.CertFile), f.path(h.KeyFile))
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	t.TLSClientConfig = cfg
	return t, nil
}

// authorize sets the Authorization header; files are read for every request, as the real program does.
func (h HTTPConfig) authorize(f files, r *http.Request) error {
	if h.User != "" || h.UserFile != "" {
		user, err := f.secret(h.User, h.UserFile)
		if err != nil {
			return err
		}
		pass, err := f.secret(h.Password, h.PasswordFile)
		if err != nil {
			return err
		}
		r.SetBasicAuth(user, pass)
	}
	if h.AuthType != "" {
		cred, err := f.secret(h.Credentials, h.CredentialsFile)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", h.AuthType+" "+cred)
	}
	return nil
}
