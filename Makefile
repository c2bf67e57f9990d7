# Consort. "make run" starts everything on this machine; "make test" needs only Go and a plain Linux.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X consort/shared/telemetry.version=$(VERSION)
TOOLS   := $(CURDIR)/.cache/bin
# The race detector needs a C compiler; a machine without one runs the tests without it.
RACE    := $(if $(shell command -v $$(go env CC)),-race)

export CGO_ENABLED ?= 0

.PHONY: run build test lint generate bench fuzz clean

run: build ## build, then coordinator, content store and one local site on loopback
	@exec bin/consort dev $(ARGS)

build: ## bin/consort and bin/consort-agent, static
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

test: $(TOOLS)/gotestsum ## all tests with the race detector; the output ends with a summary
	CGO_ENABLED=$(if $(RACE),1,0) $(TOOLS)/gotestsum --format pkgname --hide-summary=skipped -- $(RACE) -timeout 30m ./...

lint: $(TOOLS)/staticcheck ## gofmt, vet, staticcheck, generated code up to date
	@files=$$(git ls-files '*.go' | xargs gofmt -l); [ -z "$$files" ] || { echo "gofmt would change:"; echo "$$files"; exit 1; }
	go vet ./...
	go vet -tags failpoint ./...
	$(TOOLS)/staticcheck ./...
	@if command -v protoc >/dev/null; then scripts/generate --check; else echo "protoc is not installed: the generated code is not checked"; fi

generate: ## Go code of the protobuf files; needs protoc
	scripts/generate

bench: ## the table of docs/benchmarks.md, measured on this machine
	scripts/bench $(ARGS)

fuzz: ## every fuzz target for FUZZTIME (default 10s)
	scripts/fuzz $(FUZZTIME)

$(TOOLS)/%: scripts/tools/go.mod scripts/tools/go.sum
	@mkdir -p $(TOOLS)
	go build -C scripts/tools -o $@ $$(go list -C scripts/tools tool | grep '/$*$$')

clean:
	rm -rf bin .cache
