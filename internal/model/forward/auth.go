package forward

import (
	"crypto/rand"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
)

// ErrAuth says that the handshake was refused: another shared key, or a message that is none.
var ErrAuth = errors.New("forward handshake refused")

// maxHandshake bounds a message of the handshake; a real one has some hundred bytes.
const maxHandshake = 64 << 10

const saltLen = 16 // bytes of random in nonce and salts, as Fluentd has it

func newSalt() []byte {
	b := make([]byte, saltLen)
	rand.Read(b)
	return b
}

func digest(parts ...[]byte) string {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// helo is the first message of a server that asks for a key.
type helo struct {
	nonce, auth []byte
	keepalive   bool
}

func (h helo) encode() ([]byte, error) {
	return msgpack.Marshal([]any{"HELO", map[string]any{"nonce": h.nonce, "auth": h.auth, "keepalive": h.keepalive}})
}

func decodeHelo(b []byte) (helo, error) {
	var v []any
	if err := msgpack.Unmarshal(b, &v); err != nil || len(v) != 2 || v[0] != "HELO" {
		return helo{}, fmt.Errorf("%w: no HELO", ErrAuth)
	}
	m, ok := v[1].(map[string]any)
	if !ok {
		return helo{}, fmt.Errorf("%w: HELO without options", ErrAuth)
	}
	keep, isBool := m["keepalive"].(bool)
	return helo{nonce: asBytes(m["nonce"]), auth: asBytes(m["auth"]), keepalive: keep || !isBool}, nil
}

// ping is the answer of a client.
type ping struct {
	hostname     string
	salt         []byte
	keyDigest    string
	username     string
	passwordHash string
}

func newPing(hostname, key, username, password string, h helo) ping {
	salt := newSalt()
	p := ping{hostname: hostname, salt: salt, keyDigest: digest(salt, []byte(hostname), h.nonce, []byte(key)), username: username}
	if len(h.auth) > 0 {
		p.passwordHash = digest(h.auth, []byte(username), []byte(password))
	}
	return p
}

func (p ping) encode() ([]byte, error) {
	return msgpack.Marshal([]any{"PING", p.hostname, p.salt, p.keyDigest, p.username, p.passwordHash})
}

func decodePing(b []byte) (ping, error) {
	var v []any
	if err := msgpack.Unmarshal(b, &v); err != nil || len(v) != 6 || v[0] != "PING" {
		return ping{}, fmt.Errorf("%w: invalid ping message", ErrAuth)
	}
	return ping{
		hostname: string(asBytes(v[1])), salt: asBytes(v[2]), keyDigest: string(asBytes(v[3])),
		username: string(asBytes(v[4])), passwordHash: string(asBytes(v[5])),
	}, nil
}

// pong is the verdict of the server.
type pong struct {
	ok        bool
	reason    string
	hostname  string
	keyDigest string
}

func (p pong) encode() ([]byte, error) {
	return msgpack.Marshal([]any{"PONG", p.ok, p.reason, p.hostname, p.keyDigest})
}

func decodePong(b []byte) (pong, error) {
	var v []any
	if err := msgpack.Unmarshal(b, &v); err != nil || len(v) != 5 || v[0] != "PONG" {
		return pong{}, fmt.Errorf("%w: no PONG", ErrAuth)
	}
	ok, _ := v[1].(bool)
	return pong{ok: ok, reason: string(asBytes(v[2])), hostname: string(asBytes(v[3])), keyDigest: string(asBytes(v[4]))}, nil
}

func asBytes(v any) []byte {
	switch v := v.(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	default:
		return nil
	}
}
