# Triad. `make help` lists what there is; the logic is in the programs, not here.
.DEFAULT_GOAL := help
SHELL := /bin/bash
GO ?= go
export GOTOOLCHAIN ?= local
runtime ?= auto
scenario ?=
args ?=
# The first run should not compile what only real clusters need: the whole program is built when a container engine answers.
SMALL := $(if $(filter embedded,$(runtime)),1,$(if $(filter auto,$(runtime)),$(shell docker info >/dev/null 2>&1 || echo 1)))
# The commit goes into every run's evidence.
STAMP := -buildvcs=auto
LINT := $(GO) tool -modfile=tools/go.mod golangci-lint
# Tests that wait for real connections, programs and clusters: one that a busy machine failed is run once more, and both are printed.
AGAIN := $(GO) tool -modfile=tools/go.mod gotestsum --rerun-fails=1 --rerun-fails-max-failures=4
TAGS := $(if $(SMALL),-tags embedded_only)
BIN := bin/sim$(if $(SMALL),-embedded)

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z][a-zA-Z_-]*:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: sim
sim: ## run a scenario: make sim scenario=broker-failover [runtime=auto|embedded|kind|eks] [args="--seed 7"]
	@test -n "$(scenario)" || { echo 'usage: make sim scenario=NAME [runtime=auto|embedded|kind|eks] [args="..."]; make list shows the names' >&2; exit 2; }
	@CGO_ENABLED=0 $(GO) build $(STAMP) $(TAGS) -o $(BIN) ./cmd/sim
	@$(BIN) run $(scenario) --runtime $(runtime) $(args)

duration ?= 1h
baseline ?=
.PHONY: soak
soak: ## hours of load, a fault every three minutes: make soak duration=6h [runtime=kind|embedded] [baseline=result.json] [args="..."]
	@$(MAKE) --no-print-directory sim scenario=soak runtime=$(runtime) args='--duration $(duration) $(if $(baseline),--baseline $(baseline)) $(args)'

.PHONY: claims
claims: ## what the runs in reports/ prove about the eight claims
	@CGO_ENABLED=0 $(GO) build -tags embedded_only -o bin/sim-embedded ./cmd/sim && bin/sim-embedded claims

.PHONY: build
build: ## build the whole program into bin/sim
	@CGO_ENABLED=0 $(GO) build $(STAMP) -o bin/sim ./cmd/sim

.PHONY: list
list: ## list the scenarios
	@CGO_ENABLED=0 $(GO) build $(STAMP) -tags embedded_only -o bin/sim-embedded ./cmd/sim && bin/sim-embedded list

.PHONY: test
test: ## everything that needs no container engine: vet, lint, race tests, smoke, self-test
	@$(GO) version
	$(GO) vet ./...
	$(GO) vet -tags embedded_only ./cmd/... ./internal/...
	@$(MAKE) --no-print-directory lint
	$(AGAIN) --format standard-quiet --packages=./... -- -race -short -timeout 25m
	@CGO_ENABLED=0 $(GO) build $(STAMP) -tags embedded_only -o bin/sim-embedded ./cmd/sim
	@CGO_ENABLED=0 $(GO) build $(STAMP) -o bin/sim ./cmd/sim
	bin/sim check
	@# A machine that is busy for a moment makes a run invalid (exit 4), which is no result: it is run again, at most twice.
	@for n in 1 2 3; do bin/sim-embedded run smoke --runtime embedded; code=$$?; [ $$code -eq 4 ] || break; done; exit $$code
	bin/sim-embedded selftest

# The workflows' shell is not read by shellcheck: it is there on some machines and not on others, and they must agree.
ACTIONLINT := $(GO) tool -modfile=tools/go.mod actionlint -shellcheck= -pyflakes=

.PHONY: lint
lint: ## formatting and lint, of workflows too (the first time it compiles golangci-lint: about a minute on two cores)
	$(LINT) run ./...
	$(ACTIONLINT)

.PHONY: fmt
fmt: ## format everything
	$(LINT) fmt

.PHONY: tools
tools: ## compile the tools that make lint uses
	$(LINT) version

.PHONY: hooks
hooks: ## run checks before each commit (.githooks)
	git config core.hooksPath .githooks

.PHONY: generate
generate: ## rewrite what is made from code: docs/scenarios.md, the plan in docs/scaling.md
	@CGO_ENABLED=0 $(GO) build $(STAMP) -tags embedded_only -o bin/sim-embedded ./cmd/sim
	bin/sim-embedded docs > docs/scenarios.md.new && mv docs/scenarios.md.new docs/scenarios.md
	bin/sim-embedded plan 1000000 --from docs/measurements --write docs/scaling.md

.PHONY: race
race: ## short tests with the race detector
	$(GO) test -race -short -timeout 25m ./...

.PHONY: smoke
smoke: ## the smallest whole run, without a container engine
	@$(MAKE) --no-print-directory sim scenario=smoke runtime=embedded

.PHONY: verify
verify: generate ## what CI runs: generated files are committed, then make test
	@git diff --exit-code -- docs/scenarios.md docs/scaling.md || { echo 'docs/scenarios.md or docs/scaling.md is behind the code: commit what make generate wrote' >&2; exit 1; }
	@$(MAKE) --no-print-directory test

# The runs and the faults share clusters through TRIAD_STATE_DIR; they are brought up by the first test and stay.
scenarios ?=
kindtests ?= Scenarios|Strikes|Reach|NodeDies|EngineGone|SecurityIsolation|RealBroker|Rotation|Shards|Resume|EKS|EKSJobs|Docs|EKSInCluster|EKSFaults|EKSResume
.PHONY: test-kind
test-kind: build ## scenarios and probes on real kind clusters: needs a container engine, about an hour; scenarios="smoke ..." for some
	TRIAD_KIND_TESTS=1 TRIAD_KIND_SCENARIOS="$(scenarios)" TRIAD_KIND_KEEP=$${TRIAD_STATE_DIR:-} TRIAD_SIM_BINARY=$(CURDIR)/bin/sim $(AGAIN) --format standard-verbose \
	  --packages="./cmd/sim ./internal/probe" -- -count=1 -p 1 -timeout 90m -run '^TestKind($(kindtests))$$'

.PHONY: test-catalogue
test-catalogue: ## every shipped scenario on the embedded runtime, held against the verdict that its file expects; twenty minutes
	TRIAD_CATALOGUE=1 $(GO) test -count=1 -timeout 80m -v -run '^TestCatalogue$$' ./cmd/sim

.PHONY: test-containers
test-containers: ## observers and sender against single real programs: needs a container engine and TRIAD_IMAGES, some minutes
	TESTCONTAINERS_RYUK_DISABLED=true $(AGAIN) --format standard-verbose --packages=./internal/observe -- -count=1 -p 1 -timeout 12m -run '^TestContainers'

.PHONY: test-terraform
test-terraform: ## terraform test of every root, and changes that it must notice: needs terraform and its provider in TRIAD_TERRAFORM_PLUGINS
	@command -v terraform > /dev/null && test -n "$$TRIAD_TERRAFORM_PLUGINS" || { echo 'needs terraform in PATH, and a folder of plug-ins: terraform -chdir=eks/terraform/registry providers mirror "$$PWD/bin/plugins" && export TRIAD_TERRAFORM_PLUGINS=$$PWD/bin/plugins' >&2; exit 2; }
	$(GO) test -count=1 -timeout 60m -v -run '^(TestCheckOwnCode|TestChangesThatMustFail)$$' ./internal/terraform

.PHONY: test-kind-nodes
test-kind-nodes: build ## clusters coming, going, half made and foreign, and every node-level fault: nothing else may use the engine
	TRIAD_KIND_TESTS=1 TRIAD_SIM_BINARY=$(CURDIR)/bin/sim $(GO) test -count=1 -timeout 60m -v -run '^TestKind' ./internal/runtimes/kind ./internal/preflight

.PHONY: fuzz
fuzz: ## fuzz every parser and reader, 20 s each
	@for p in $$(grep -rl --include=*_test.go 'func Fuzz' internal | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -ho 'func Fuzz[A-Za-z]*' $$p/*_test.go | sed 's/func //'); do \
	    $(GO) test -run xxx -fuzz "^$$f$$" -fuzztime 20s ./$$p || exit 1; done; done

.PHONY: bench
bench: ## Go benchmarks: lines/s, records/s, bytes/record
	$(GO) test -run xxx -bench . -benchtime 2s ./internal/source ./internal/record ./internal/evidence ./internal/check ./internal/load ./internal/esfake ./internal/stats
	$(GO) test -run xxx -bench Path -benchtime 2x ./internal/runtimes/embedded

.PHONY: golden
golden: ## rewrite golden files
	$(GO) test ./internal/report ./internal/source -update

.PHONY: up down
up: build ## bring up the three kind clusters
	bin/sim up
down: build ## remove the kind clusters
	bin/sim down

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
