package api

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics measures requests by route pattern; ids never become labels.
type metrics struct{ took *prometheus.HistogramVec }

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "consort_http_request_seconds",
		Help:    "Time from the header of a request to its answer, waits included.",
		Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 60},
	}, []string{"method", "route", "status"})}
	if r != nil {
		r.MustRegister(m.took)
	}
	return m
}

func (m *metrics) observe(method, route string, status int, took time.Duration) {
	m.took.WithLabelValues(method, route, strconv.Itoa(status/100)+"xx").Observe(took.Seconds())
}
