package prometheus

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/http"
	"sync"

	"golang.org/x/crypto/bcrypt"

	triad "triad/internal/model"
)

// webConfig is the modelled part of --web.config.file.
type webConfig struct {
	users             map[string]string // name to bcrypt hash
	certFile, keyFile string

	mu    sync.Mutex
	known map[[32]byte]bool // pairs that were right, because bcrypt costs tens of milliseconds
}

func parseWebConfig(config []byte) (*webConfig, []triad.NotModelled, error) {
	p := &parser{file: "web-config.yml"}
	root := p.document(config)
	w := &webConfig{users: root.labels("basic_auth_users"), known: map[[32]byte]bool{}}
	if t, ok := root.child("tls_server_config"); ok {
		t.text("cert_file", &w.certFile)
		t.text("key_file", &w.keyFile)
		t.rest("TLS is the one of the Go standard library with its defaults")
	}
	root.rest("not modelled")
	notes, err := p.result()
	return w, notes, err
}

func (w *webConfig) tls(f files) (*tls.Config, error) {
	if w.certFile == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.path(w.certFile), f.path(w.keyFile))
	if err != nil {
		return nil, fmt.Errorf("web config: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

func (w *webConfig) middleware(next http.Handler) http.Handler {
	if len(w.users) == 0 {
		return next
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if user, pass, ok := r.BasicAuth(); !ok || !w.right(user, pass) {
			rw.Header().Set("WWW-Authenticate", "Basic")
			http.Error(rw, "Unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(rw, r)
	})
}

func (w *webConfig) right(user, pass string) bool {
	sum := sha256.Sum256([]byte(user + "\x00" + pass))
	w.mu.Lock()
	hit := w.known[sum]
	w.mu.Unlock()
	if hit {
		return true
	}
	hash, ok := w.users[user]
	if !ok || bcrypt.CompareHashAndPassword([]byte(hash), []byte(pass)) != nil {
		return false
	}
	w.mu.Lock()
	w.known[sum] = true
	w.mu.Unlock()
	return true
}
