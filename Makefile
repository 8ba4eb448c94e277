# `make help` lists what there is. GNU make 3.81 and POSIX sh are enough.

MODULES  := $(shell sed -n 's|^[[:space:]]*\./\([^[:space:]]*\).*|\1|p' go.work)
SERVICES := api worker monitor hooksctl
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

GOLANGCI_VERSION := v2.15.0
TOOLS            := .run/tools
GOLANGCI         := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)/golangci-lint
WITHSERVERS      := $(TOOLS)/withservers
COMPOSE          := $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

# A clone owned by another user has no readable VCS status; VERSION does the job.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)

FUZZTIME  ?= 30s
TESTFLAGS ?=
ARGS      ?=
AUDIT_URL ?= http://127.0.0.1:8080/graphql
AUDITS    := services/api/internal/httpapi/audits
GRAPHIQL  := services/api/internal/httpapi/graphiql

.DEFAULT_GOAL := help
.PHONY: help run test check build bench chaos audit graphiql-check up down servers fmt fmt-check vet lint tidy tidy-check \
	isolate go-line-check generated-check fuzz clean install-test-servers install-run-servers $(addprefix bin/,$(SERVICES)) $(WITHSERVERS)

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z][a-z-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##
## The main jobs

run: install-run-servers bin/hooksctl ## the whole system on this machine, with one event delivered to show it works; Ctrl-C ends it
	@bin/hooksctl dev $(ARGS)

test: install-test-servers $(WITHSERVERS) ## all tests, against PostgreSQL and Redis of their own, with the race detector
	$(WITHSERVERS) -dir .run/test -- go test -race -shuffle=on -count=1 $(TESTFLAGS) work

check: fmt-check go-line-check vet lint tidy-check isolate generated-check test ## all that CI runs

build: $(addprefix bin/,$(SERVICES)) ## static binaries in bin/

bench: install-test-servers ## the benchmarks, as one table
	@go run ./services/hooksctl/bench $(ARGS)

chaos: install-test-servers ## the fault suite, as one table
	@go run ./services/hooksctl/chaos $(ARGS)

# Not part of check: it needs Node.js and its packages. audits.go has the same audits in Go.
audit: ## the GraphQL over HTTP audits against the api at AUDIT_URL; needs Node.js, and a token in HOOKSCTL_TOKEN
	@for program in node npm; do command -v $$program >/dev/null || { \
		echo "make audit needs Node.js 18 or newer with npm: $$program was not found (the same audits run without it in make test)"; exit 1; }; done
	@test -n "$$HOOKSCTL_TOKEN" || { \
		echo "make audit needs a token: export HOOKSCTL_TOKEN=\$$(HOOKS_JWT_SECRET=... bin/hooksctl token --tenant acme)"; exit 1; }
	@cd $(AUDITS) && { test node_modules/.package-lock.json -nt package-lock.json || npm ci --no-audit --no-fund --loglevel=error; } \
		|| { echo "make audit needs the npm packages graphql-http and graphql: npm ci failed in $(AUDITS)"; exit 1; }
	@node $(AUDITS)/audit.mjs "$(AUDIT_URL)" "$$HOOKSCTL_TOKEN"

# Not part of check, which compares the same files with their manifest, without Node.js.
graphiql-check: ## build GraphiQL anew and compare with the files that are here; needs Node.js
	@for program in node npm; do command -v $$program >/dev/null || { \
		echo "make graphiql-check needs Node.js 20 or newer with npm: $$program was not found"; exit 1; }; done
	@cd $(GRAPHIQL) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && node build.mjs $(CURDIR)/.run/graphiql
	@diff -u $(GRAPHIQL)/manifest.json .run/graphiql/manifest.json || { \
		echo "GraphiQL's files (-) are not what is built from their sources (+): npm run build in $(GRAPHIQL)"; exit 1; }
	@$(MAKE) --no-print-directory generated-check

up: ## the whole system by docker compose (ARGS="--scale worker=3": three workers)
	VERSION=$(VERSION) $(COMPOSE) up --build --detach $(ARGS)

down: ## stop it; its data stay (add ARGS=--volumes to drop them)
	$(COMPOSE) down --remove-orphans $(ARGS)

##
## While developing

servers: install-test-servers $(WITHSERVERS) ## servers for `go test` in another terminal: run `. .run/servers/env` there
	@$(WITHSERVERS) -keep .run/servers

fmt: ## format all Go code
	gofmt -s -w $(MODULES)

fmt-check:
	@unformatted=$$(gofmt -s -l $(MODULES)); test -z "$$unformatted" || { echo "not formatted, run make fmt:"; echo "$$unformatted"; exit 1; }

vet: ## go vet
	go vet work

lint: $(GOLANGCI) ## golangci-lint, with .golangci.yml
	@set -e; for m in $(MODULES); do echo "lint $$m"; (cd $$m && $(CURDIR)/$(GOLANGCI) run $(ARGS) ./...); done

tidy: ## bring every go.mod and go.sum in order
	go work sync
	@set -e; for m in $(MODULES); do (cd $$m && go mod tidy); done

tidy-check:
	@set -e; for m in $(MODULES); do (cd $$m && go mod tidy -diff) || { echo "$$m/go.mod is not tidy, run make tidy"; exit 1; }; done

isolate: ## each module without the workspace, as Docker builds it: finds missing requirements
	@set -e; for m in $(MODULES); do echo "isolate $$m"; (cd $$m && GOWORK=off go vet ./...); done

generated-check:
	@go test -count=1 -run '^TestGenerated_' ./services/api/internal/httpapi

go-line-check:
	@want=$$(sed -n 's/^go //p' go.work); for m in $(MODULES); do \
		grep -qx "go $$want" $$m/go.mod || { echo "$$m/go.mod must say: go $$want (as go.work does)"; exit 1; }; done

fuzz: ## every fuzz target for FUZZTIME (30s)
	@set -e; for f in $$(grep -rl '^func Fuzz' --include='*_test.go' $(MODULES)); do \
		for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$f); do \
			echo "fuzz $$t"; go test -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) ./$$(dirname $$f); done; done

clean: ## remove what was built and the data of `make run`
	rm -rf bin .run

##
## What the others need

$(addprefix bin/,$(SERVICES)):
	@cd services/$(@F) && GOWORK=off CGO_ENABLED=0 go build -trimpath \
		-ldflags '-s -w -X github.com/crm-webhooks/crm-webhooks/pkg/obs.version=$(VERSION)' -o $(CURDIR)/$@ .

$(WITHSERVERS):
	@go build -o $@ ./pkg/devstack/cmd/withservers

# Compiling it takes minutes, so each version stays.
$(GOLANGCI):
	@echo "compiling golangci-lint $(GOLANGCI_VERSION), once ..."
	@GOBIN=$(CURDIR)/$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

# Servers that are named need not be installed.
install-test-servers:
	@needed="$(if $(TEST_DATABASE_URL),,postgresql) $(if $(TEST_REDIS_URL),,redis)"; \
		test -z "$${needed# }" || sh deploy/dev/install-servers.sh $$needed

install-run-servers:
	@needed="$(if $(DATABASE_URL),,postgresql) $(if $(REDIS_URL),,redis)"; \
		test -z "$${needed# }" || sh deploy/dev/install-servers.sh $$needed
