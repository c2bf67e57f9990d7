package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// hcLog writes what Raft and its log have to say through slog.
type hcLog struct {
	to   *slog.Logger
	name string
	args []any
}

func newHCLog(to *slog.Logger) hclog.Logger { return &hcLog{to: to} }

func (l *hcLog) Log(level hclog.Level, msg string, args ...any) {
	to := toSlog(level)
	if slices.ContainsFunc(args, isClosed) {
		to = slog.LevelDebug // a connection that we cut ourselves, at a stop
	}
	if !l.to.Enabled(context.Background(), to) {
		return
	}
	attrs := []any{"library", "raft"}
	for _, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			a = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		attrs = append(attrs, a)
	}
	l.to.Log(context.Background(), to, msg, attrs...)
}

// isClosed tells whether a is the error of a connection that this process closed.
func isClosed(a any) bool {
	err, ok := a.(error)
	return ok && errors.Is(err, net.ErrClosed)
}

// toSlog ranks Raft's news of normal life with the details: we report changes of leadership ourselves.
func toSlog(level hclog.Level) slog.Level {
	switch {
	case level >= hclog.Error:
		return slog.LevelError
	case level == hclog.Warn:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

func (l *hcLog) Trace(msg string, args ...any) {}
func (l *hcLog) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *hcLog) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *hcLog) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *hcLog) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *hcLog) IsTrace() bool { return false }
func (l *hcLog) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l *hcLog) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l *hcLog) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l *hcLog) IsError() bool { return l.enabled(hclog.Error) }

func (l *hcLog) enabled(level hclog.Level) bool {
	return l.to.Enabled(context.Background(), toSlog(level))
}

func (l *hcLog) ImpliedArgs() []any { return l.args }

func (l *hcLog) With(args ...any) hclog.Logger {
	return &hcLog{to: l.to.With(args...), name: l.name, args: append(l.args[:len(l.args):len(l.args)], args...)}
}

func (l *hcLog) Name() string { return l.name }

func (l *hcLog) Named(name string) hclog.Logger {
	if l.name != "" {
		name = l.name + "." + name
	}
	return l.ResetNamed(name)
}

func (l *hcLog) ResetNamed(name string) hclog.Logger {
	return &hcLog{to: l.to, name: name, args: l.args}
}

func (l *hcLog) SetLevel(hclog.Level) {} // slog's handler decides

func (l *hcLog) GetLevel() hclog.Level { return hclog.Debug }

func (l *hcLog) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(o), "", 0)
}

func (l *hcLog) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return slog.NewLogLogger(l.to.Handler(), slog.LevelDebug).Writer()
}
