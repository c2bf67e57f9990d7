package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one replica. All are kept also without a registerer, which costs next to nothing.
type metrics struct {
	registerer prometheus.Registerer
	collectors []prometheus.Collector

	proposeSeconds prometheus.Histogram
	outcomes       *prometheus.CounterVec
	logSeconds     prometheus.Histogram
	snapshotBytes  prometheus.Gauge
	snapshotTime   prometheus.Gauge
}

func newMetrics(r *Replica) (*metrics, error) {
	latency := prometheus.ExponentialBuckets(0.0001, 2, 17) // 0.1 ms to 6.5 s
	m := &metrics{
		registerer: r.cfg.Registerer,
		proposeSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "consort_propose_seconds",
			Help: "Time from proposing a command to its result, on the node that was asked.", Buckets: latency}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "consort_propose_total",
			Help: "Commands proposed, by outcome."}, []string{"outcome"}),
		logSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "consort_raft_log_write_seconds",
			Help: "Time to write and sync one batch of log entries.", Buckets: latency}),
		snapshotBytes: prometheus.NewGauge(prometheus.GaugeOpts{Name: "consort_raft_snapshot_bytes",
			Help: "Size of the last snapshot taken since the start."}),
		snapshotTime: prometheus.NewGauge(prometheus.GaugeOpts{Name: "consort_raft_snapshot_timestamp_seconds",
			Help: "When the last snapshot since the start was taken."}),
	}
	m.collectors = append(m.gauges(r), m.proposeSeconds, m.outcomes, m.logSeconds, m.snapshotBytes, m.snapshotTime)
	if m.registerer == nil {
		return m, nil
	}
	for i, c := range m.collectors {
		if err := m.registerer.Register(c); err != nil {
			m.collectors = m.collectors[:i]
			m.unregister()
			return nil, fmt.Errorf("register metrics of the replica: %w", err)
		}
	}
	return m, nil
}

// gauges read the replica when they are asked. That may be before Raft is there.
func (m *metrics) gauges(r *Replica) []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	ofRaft := func(value func(*raft.Raft) uint64) func() float64 {
		return func() float64 {
			if started := r.started.Load(); started != nil {
				return float64(value(started))
			}
			return 0
		}
	}
	return []prometheus.Collector{
		gauge("consort_raft_leader", "1 if this node leads and takes requests as the leader.", func() float64 {
			if r.Leading() {
				return 1
			}
			return 0
		}),
		gauge("consort_raft_term", "Raft's current term.", ofRaft((*raft.Raft).CurrentTerm)),
		gauge("consort_raft_commit_index", "Index of the last committed entry known here.", ofRaft((*raft.Raft).CommitIndex)),
		gauge("consort_raft_last_index", "Index of the last entry in the log.", ofRaft((*raft.Raft).LastIndex)),
		gauge("consort_raft_seen_index", "Index of the last command that the state holds.", func() float64 { return float64(r.seen.load()) }),
		gauge("consort_propose_in_flight", "Commands in Raft's hands.", func() float64 { return float64(len(r.slots)) }),
		gauge("consort_raft_log_since_snapshot_bytes", "Log written since the last snapshot.", func() float64 { return float64(r.grown.bytes.Load()) }),
	}
}

func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.collectors {
		m.registerer.Unregister(c)
	}
}

func (m *metrics) proposed(took time.Duration, err error) {
	m.outcomes.WithLabelValues(outcomeName(err)).Inc()
	if err == nil {
		m.proposeSeconds.Observe(took.Seconds())
	}
}

func outcomeName(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrUnknown):
		return "unknown"
	case errors.Is(err, ErrNotLeader):
		return "not-leader"
	case errors.Is(err, ErrOverloaded):
		return "overloaded"
	case errors.Is(err, ErrStopped):
		return "stopped"
	default:
		return "error"
	}
}

func (m *metrics) logWritten(took time.Duration) { m.logSeconds.Observe(took.Seconds()) }

func (m *metrics) snapshotWritten(bytes int64) {
	m.snapshotBytes.Set(float64(bytes))
	m.snapshotTime.SetToCurrentTime()
}
