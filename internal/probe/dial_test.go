package probe_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"triad/internal/probe"
)

func TestDial(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- probe.Listen(ctx, l) }()
	shut, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := shut.Addr().String()
	if err := shut.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := probe.Dial(t.Context(), []string{closed, l.Addr().String(), closed}, probe.DialOptions{Timeout: time.Second, Parallel: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, false} {
		if got[i].Open != want || !want && got[i].Detail != "refused" {
			t.Errorf("%+v, want open %v", got[i], want)
		}
	}
	// What closes while it is watched is closed in the end.
	time.AfterFunc(200*time.Millisecond, cancel)
	began := time.Now()
	got, err = probe.Dial(t.Context(), []string{l.Addr().String()}, probe.DialOptions{WhileOpen: 30 * time.Second})
	if err != nil || got[0].Open || time.Since(began) > 20*time.Second {
		t.Errorf("%+v, %v after %v", got, err, time.Since(began))
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"127.0.0.1", "127.0.0.1:http", "127.0.0.1:0", "127.0.0.1:70000"} {
		if _, err := probe.Dial(t.Context(), []string{bad}, probe.DialOptions{}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
