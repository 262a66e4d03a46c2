// Package forward speaks the Fluent forward protocol: a server that takes Message, Forward and PackedForward mode, a
// client that sends PackedForward with a chunk id and waits for the acknowledgement, and the shared-key handshake
// (HELO, PING, PONG) on both sides. The models of Fluent Bit and Fluentd use it, and so does load that enters there.
//
// The one rule: an acknowledgement is sent after the handler has returned without error, and never otherwise.
package forward
