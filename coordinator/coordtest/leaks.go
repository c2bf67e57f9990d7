package coordtest

import "go.uber.org/goleak"

// Leaks are the options for goleak that ignore what fasthttp leaves running by design: a clock for the whole
// process, and each server's cleaner, which looks every 10 s whether its server has stopped.
func Leaks() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	}
}
