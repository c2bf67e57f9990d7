package main

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// requests measures creating and reading jobs. Each figure is taken right after its ceiling, because a shared
// machine is not equally fast for long.
func requests(ctx context.Context, b *bench) error {
	d := either(b.quick, time.Second, 4*time.Second)
	dir, err := b.scratch("requests")
	if err != nil {
		return err
	}
	disk, err := fsyncs(dir, d)
	if err != nil {
		return err
	}
	b.table.note("fsync of 4 KiB", disk.show())
	s, err := b.dev(dir)
	if err != nil {
		return err
	}
	err = creates(ctx, b, s, d)
	if err == nil {
		err = reads(ctx, b, s, d)
	}
	b.table.note("server's memory afterwards", mib(s.resident()))
	return errors.Join(err, s.stop())
}

var crowds = []struct {
	clients int
	name    string
	target  float64 // of the ratio of creates
}{{1, "1 client", 0}, {16, "16 clients", 0}, {64, "64 clients", 0.5}}

func creates(ctx context.Context, b *bench, s *server, d time.Duration) error {
	dir, err := b.scratch("engine")
	if err != nil {
		return err
	}
	e, err := openEngine(ctx, dir)
	if err != nil {
		return err
	}
	digest := strings.Repeat("ab", 32)
	err = e.publish(ctx, "probe", "1.0.0", digest)
	url, c := s.url()+"/rest/probe", newCaller(s.address)
	both := func() time.Duration {
		server, _ := s.cpu()
		return ownCPU() + server
	}
	for _, crowd := range crowds {
		if err = errors.Join(err, settle(ctx, both)); err != nil {
			break
		}
		var most, got pressed
		most, err = press(ctx, crowd.clients, d, func() error { return e.propose(ctx, createProbe("1.0.0", digest)) })
		if err = errors.Join(err, settle(ctx, both)); err != nil {
			break
		}
		got, err = press(ctx, crowd.clients, d, func() error {
			_, err := c.post(url, "text=hello")
			return err
		})
		if err == nil {
			b.table.against("create, "+crowd.name, got.show(), most.show(), got.perSecond/most.perSecond, crowd.target)
		}
	}
	return errors.Join(err, e.close())
}

func reads(ctx context.Context, b *bench, s *server, d time.Duration) error {
	c := newCaller(s.address)
	job, err := c.post(s.url()+"/rest/probe", "text=hello")
	if err != nil {
		return err
	}
	_, body, err := fasthttp.Get(nil, job)
	if err != nil {
		return err
	}
	plain, stop, err := serveBytes(body)
	if err != nil {
		return err
	}
	defer stop()
	fast := newCaller(plain)
	for _, crowd := range crowds {
		most, err := press(ctx, crowd.clients, d, func() error {
			_, err := fast.get("http://" + plain + "/rest/probe/job")
			return err
		})
		if err != nil {
			return err
		}
		got, err := press(ctx, crowd.clients, d, func() error {
			_, err := c.get(job)
			return err
		})
		if err != nil {
			return err
		}
		b.table.against("read a job, "+crowd.name, got.show(), most.show(), got.perSecond/most.perSecond, 0)
	}
	return nil
}

// serveBytes starts a plain Fiber handler that answers every request with the same bytes.
func serveBytes(body []byte) (address string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Get("/rest/:name/:id", func(c *fiber.Ctx) error {
		c.Set(fiber.HeaderContentType, "text/xml; charset=utf-8")
		return c.Send(body)
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = app.Listener(l)
	}()
	return l.Addr().String(), func() { _ = app.Shutdown(); <-done }, nil
}
