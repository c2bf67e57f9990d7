// Package metrics serves what operators and their monitoring ask a running program: Prometheus metrics, and
// whether it lives and is ready. It has a listener of its own, which should not be public.
package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"consort/shared/telemetry"
)

// checkTimeout bounds all checks of one probe together.
const checkTimeout = 2 * time.Second

// NewRegistry returns a registry with the metrics of the process, the Go runtime and the build.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	b := telemetry.Version()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "consort_build_info", Help: "1, labelled with what the program was built from.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "go": b.Go},
	})
	info.Set(1)
	r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Check is one condition of a probe.
type Check struct {
	Name string
	// Run returns nil if all is well, else the reason in words for an operator. It must respect ctx.
	Run func(ctx context.Context) error
}

// Probes are the conditions that /healthz and /readyz look at.
type Probes struct {
	Live  []Check // the process works; if not, restart it
	Ready []Check // it can serve requests; if not, send them elsewhere
}

// Handler serves /metrics, /healthz and /readyz.
func Handler(registry *prometheus.Registry, probes Probes) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 30 * time.Second}))
	mux.Handle("GET /healthz", probe(probes.Live))
	mux.Handle("GET /readyz", probe(probes.Ready))
	return mux
}

// answer is the body of a probe.
type answer struct {
	OK     bool              `json:"ok"`
	Checks map[string]string `json:"checks"` // "ok" or the reason
}

func probe(checks []Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		a := answer{OK: true, Checks: make(map[string]string, len(checks))}
		for _, c := range checks {
			a.Checks[c.Name] = "ok"
			if err := c.Run(ctx); err != nil {
				a.OK, a.Checks[c.Name] = false, err.Error()
			}
		}
		status := http.StatusOK
		if !a.OK {
			status = http.StatusServiceUnavailable
		}
		body, err := json.Marshal(a)
		if err != nil { // strings and a bool always encode
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		w.Write(append(body, '\n')) // who asked may be gone; nobody else to tell
	})
}

// Serve serves the handler on the listener until ctx ends, then waits up to a second for requests under
// way. It closes the listener.
func Serve(ctx context.Context, l net.Listener, h http.Handler, logger *slog.Logger) error {
	s := &http.Server{
		Handler: h, ReadTimeout: 5 * time.Second, WriteTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve metrics: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if s.Shutdown(last) != nil {
		s.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
