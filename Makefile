# Everything here runs from a clean clone with Go, make and git.

GO            ?= go
TOOL          := $(GO) tool -modfile=tools.mod
FUZZTIME      ?= 30s

# Debian packages: what the tests need, and the tokens that they are run on
# where they are installed.
TEST_PACKAGES := openssl jq
RIG_PACKAGES  := softhsm2 opensc p11-kit p11-kit-modules swtpm tpm2-tools libtpm2-pkcs11-1 libtss2-tcti-swtpm0 \
                 tpm2-abrmd libtss2-tcti-tabrmd0 dbus-daemon libnss3 libnss3-tools

# The race detector needs cgo and a C compiler.
HAS_CC := $(shell [ "$$($(GO) env CGO_ENABLED)" = 1 ] && command -v $$($(GO) env CC))

# Everything is compiled the same way, and so but once: without this, the
# programs as they are delivered and the tests would share nothing.
GOFLAGS       := $(shell $(GO) env GOFLAGS) -trimpath
export GOFLAGS

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/worker and bin/cap
	$(GO) build -o bin/ ./cmd/worker ./cmd/cap

.PHONY: demo
demo: build ## sign and verify real files through a worker of its own
	$(GO) run ./tests/demo -bin bin

# What signs through a device or a cloud, and what runs whole processes, mostly
# waits, or counts on time: it is tested apart, without the race detector, which
# make soak adds.
APART := ./internal/kmstest/... ./internal/providers/awskms ./internal/providers/azurekms ./internal/providers/gcpkms \
         ./internal/providers/pkcs11/... ./tests/...

# One half keeps the CPUs busy, the other mostly waits. They run one after the
# other, since some of what waits counts on not waiting long. make check vets.
.PHONY: test
test: deps ## run the tests, with the race detector where there is a C compiler
	$(if $(HAS_CC),,@echo "No C compiler: testing without the race detector and without PKCS#11.")
	@rm -rf bin/matrix bin/tests && mkdir -p bin
	@$(MAKE) --no-print-directory --keep-going test-busy test-apart
	@$(GO) run ./tests/matrix bin/matrix

.PHONY: test-busy
test-busy:
	CAP_TEST_MATRIX=$(CURDIR)/bin/matrix $(GO) test -vet=off $(if $(HAS_CC),-race) -count=1 -timeout 12m \
		$$($(GO) list ./... | grep -v -x -F "$$($(GO) list $(APART))")

# The programs that the tests run are linked once.
.PHONY: test-apart
test-apart: bin/nats
	@mkdir -p bin/tests
	$(GO) build -o bin/tests/ ./cmd/worker ./cmd/cap ./tests/demo github.com/nats-io/nats-server/v2
	CAP_TEST_COMMANDS=$(CURDIR)/bin/tests CAP_NATS_CLI=$(CURDIR)/bin/nats CAP_TEST_MATRIX=$(CURDIR)/bin/matrix \
		$(GO) test -vet=off -count=1 -parallel 4 -timeout 12m $(APART)

.PHONY: deps
deps: ## install the Debian packages the tests use
	@missing=; for p in $(TEST_PACKAGES) $(if $(HAS_CC),$(RIG_PACKAGES)); do \
		dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q ' installed' || missing="$$missing $$p"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	else \
		echo "Not installed, and only root can: $$missing. What needs them is skipped." >&2; \
	fi

# The stock client that one test makes a request with.
bin/nats: tools.mod tools.sum
	$(GO) build -modfile=tools.mod -o $@ github.com/nats-io/natscli/nats

.PHONY: check
check: ## formatting, vet and the other linters, modern idioms, go.mod
	@out=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .) && if [ -n "$$out" ]; then echo "gofmt: $$out"; exit 1; fi
	$(TOOL) golangci-lint run
	$(GO) fix -diff ./...
	$(GO) mod tidy -diff

.PHONY: fuzz
fuzz: ## fuzz each target for FUZZTIME (30s)
	@list=$$($(GO) test -list '^Fuzz' ./...) && echo "$$list" | \
	awk '/^Fuzz/ { f[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, f[i]; n = 0 }' | \
	while read -r pkg f; do \
		echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg </dev/null || exit 1; \
	done

.PHONY: soak
soak: bin/nats ## run the long tests: kills, restarts, hours of load
	CAP_NATS_CLI=$(CURDIR)/bin/nats $(GO) test -tags soak -count 1 -timeout 60m ./tests/...
	$(if $(HAS_CC),$(GO) test -race -p 1 -count 1 -timeout 60m $(APART))

.PHONY: interop
interop: deps ## have stock cosign verify what cap signs (builds cosign once, which takes minutes)
	$(GO) test -tags interop -count=1 -timeout 60m ./tests/interop

.PHONY: bench
bench: ## measure the performance targets
	$(GO) run ./tests/bench

.PHONY: generate
generate: ## rewrite the generated files
	$(GO) generate ./...

.PHONY: clean
clean: ## remove what was built, never data/, which holds keys
	rm -rf bin coverage.*

.PHONY: compose-check
compose-check: ## have Compose, promtool and the tests read what is deployed
	docker compose --profile "*" config --quiet
	promtool check config --syntax-only deploy/prometheus/prometheus.yml
	promtool test rules deploy/prometheus/rules_test.yml
	$(GO) test -count=1 ./tests/deploy
