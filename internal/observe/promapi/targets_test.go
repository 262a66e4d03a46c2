package promapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestAwaitTargets(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := r.FormValue("query"); !strings.HasPrefix(q, `up{cluster="edge"}[`) {
			t.Errorf("query %q", q)
		}
		// One target at first, two from the third question on; a third is down all the time.
		series := `{"metric":{"i":"a"},"values":[[1,"0"],[2,"1"]]},{"metric":{"i":"c"},"values":[[2,"0"]]}`
		if asked.Add(1) > 2 {
			series += `,{"metric":{"i":"b"},"values":[[3,"1"]]}`
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[%s]}}`, series)
	}))
	defer srv.Close()
	c := Client{Base: srv.URL}
	since := time.Now().Add(-time.Minute)
	if n, err := c.AwaitTargets(t.Context(), "edge", 2, since); err != nil || n != 2 || asked.Load() < 3 {
		t.Errorf("%d targets after %d questions, %v", n, asked.Load(), err)
	}
	tooLate := errors.New("too late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, tooLate)
	defer cancel()
	if n, err := c.AwaitTargets(ctx, "edge", 3, since); !errors.Is(err, tooLate) || !strings.Contains(err.Error(), "2 of 3 series") || n != 2 {
		t.Errorf("%d, %v", n, err)
	}
}
