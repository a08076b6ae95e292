# make help lists the targets. What takes more than a line is in scripts/.
.DEFAULT_GOAL := build
.PHONY: build demo demo-down test lint bench conformance clean help
.SUFFIXES:

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# Not a tool of go.mod: a linter's dependencies are none of orch's.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
NAME ?=

build: ## bin/orch: static, stripped, reproducible
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w -X main.version=$(VERSION)' -o bin/orch ./cmd/orch

demo: build ## a one-node cluster with an application, from nothing; make demo-down takes it away
	@sh scripts/demo.sh up

demo-down: ## take away everything that make demo made
	@sh scripts/demo.sh down

test: ## every test, those with Docker included; installs what is missing
	@sh scripts/test.sh ./...

conformance: ## the stock docker CLI against orch and against swarm mode, compared
	@mkdir -p bin && rm -f bin/conformance
	@ORCH_CONFORMANCE=all ORCH_CONFORMANCE_SUMMARY=$(CURDIR)/bin/conformance sh scripts/test.sh -v -count=1 ./test/conformance; code=$$?; \
		cat bin/conformance; exit $$code

lint: ## gofmt, go vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt these: $$out"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...

bench: build ## every figure beside its target; NAME=deploy runs one group, ROUNDS=20 more rounds of cluster
	@sh scripts/engine.sh tools
	@sh scripts/engine.sh peers
	go run ./bench -orch bin/orch $(if $(ROUNDS),-rounds $(ROUNDS)) $(NAME)

clean: ## remove what make built
	rm -rf bin
	$(MAKE) -s -C examples/visits clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 14
