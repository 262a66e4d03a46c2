package pod

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Serve answers on l until ctx ends: then stop ends what is under way, and the answers that are still on their way have five seconds.
func Serve(ctx context.Context, l net.Listener, mux *http.ServeMux, stop func() error) error {
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	errc := make(chan error, 1)
	go func() { errc <- srv.Serve(l) }()
	select {
	case err := <-errc:
		return err
	case <-ctx.Done():
	}
	stopped := stop()
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := srv.Shutdown(down)
	<-errc //nolint:errcheck // it says that it is closed
	return errors.Join(stopped, err)
}

// Here is a time of an order as this machine counts from it: the same instant, with the reading of the monotonic clock that JSON strips. What is
// counted from it is not moved when the wall clock is stepped.
func Here(t time.Time) time.Time {
	now := time.Now()
	return now.Add(t.Sub(now))
}

// Run is the run that a request names. When it names none, it was answered and false is returned.
func Run(w http.ResponseWriter, r *http.Request) (run uint32, ok bool) {
	n, err := strconv.ParseUint(r.URL.Query().Get("run"), 10, 32)
	if err != nil {
		http.Error(w, "run: want a number", http.StatusBadRequest)
	}
	return uint32(n), err == nil
}

// Evidence answers with the files of the run that a request names; dir is where those of a run lie, keep as in Send.
func Evidence(log *slog.Logger, dir func(run uint32) string, keep func(name string) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		run, ok := Run(w, r)
		if !ok {
			return
		}
		if err := Send(w, dir(run), keep); err != nil {
			log.Error("send evidence", "error", err)
		}
	}
}
