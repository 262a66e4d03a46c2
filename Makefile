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
TAGS := $(if $(SMALL),-tags embedded_only)
BIN := bin/sim$(if $(SMALL),-embedded)

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z][a-zA-Z_-]*:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: sim
sim: ## run a scenario: make sim scenario=broker-failover [runtime=auto|embedded|kind|eks] [args="--seed 7"]
	@test -n "$(scenario)" || { echo 'usage: make sim scenario=NAME [runtime=auto|embedded|kind|eks] [args="..."]; make list shows the names' >&2; exit 2; }
	@CGO_ENABLED=0 $(GO) build $(TAGS) -o $(BIN) ./cmd/sim
	@$(BIN) run $(scenario) --runtime $(runtime) $(args)

.PHONY: build
build: ## build the whole program into bin/sim
	@CGO_ENABLED=0 $(GO) build -o bin/sim ./cmd/sim

.PHONY: list
list: ## list the scenarios
	@CGO_ENABLED=0 $(GO) build -tags embedded_only -o bin/sim-embedded ./cmd/sim && bin/sim-embedded list
