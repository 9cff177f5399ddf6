# Go compiles everything here without a C compiler.
export CGO_ENABLED ?= 0

.PHONY: help run test test-verify test-all ci fuzz bench generate spec verify lint

help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# The program that run builds; go run would hide its exit code and its path.
BINARY ?= $(CURDIR)/registryusers

run: ## build and serve on 127.0.0.1:8080, with a registry to try; ARGS adds flags
	@echo "Building $(BINARY): a few minutes the first time, seconds after that"
	@go build -o "$(BINARY)" ./cmd/registryusers
	@exec "$(BINARY)" serve --dev $(ARGS)

# Without vet, which CI runs in a step of its own: it would analyse every dependency.
# The packages are built first: some tests run go build, which would compile what
# this go test is still compiling.
test: ## run the tests of the program and the packages; needs nothing but Go
	go build ./...
	go test -vet=off ./...

# Without the test cache: these tests run the project's programs and read its files,
# which the cache does not see.
test-verify: ## run the tests of internal/verify: conformance, differential, mutation, spec, otelexample
	cd internal/verify && go test -vet=off -count=1 -timeout 20m ./...

test-all: ## run every check of make ci, also with the clients that take long to build, and all fuzzing; takes an hour
	go install helm.sh/helm/v3/cmd/helm@v3.22.0
	go install github.com/sigstore/cosign/v2/cmd/cosign@v2.6.5
	PATH="$$(go env GOPATH)/bin:$$PATH" TEST_ALL=1 FUZZTIME=$(FUZZTIME) scripts/ci

ci: ## run every check that a change must pass, on a clean checkout; .ci/run installs the tools first
	scripts/ci

# How long to fuzz each: a time, or a number of runs of two requests each.
FUZZTIME ?= 500000x

fuzz: ## compare the server with an independent validator, and the generated decoders with the validator
	cd internal/verify && go test -run '^$$' -fuzz FuzzBody -fuzztime $(FUZZTIME) ./differential
	cd internal/verify && go test -run '^$$' -fuzz FuzzIDs -fuzztime $(FUZZTIME) ./differential
	go test -run '^$$' -fuzz FuzzBodies -fuzztime $(FUZZTIME) ./server
	go test -run '^$$' -fuzz FuzzBodies -fuzztime $(FUZZTIME) ./server/internal/generate/fixture

bench: ## measure the server beside others and write bench/RESULTS.md; ten minutes on a quiet machine; ARGS adds flags
	cd bench && go run . $(ARGS)

generate: ## generate gen/ from api/
	go generate ./...

spec: export FROM := $(value FROM)
spec: ## vendor a newer OpenAPI document from FROM=FILE, a documentation page or YAML or JSON; see docs/new-document.md
	@test -n "$$FROM" || { echo "make spec: name the file, FROM=FILE" >&2; exit 2; }
	@case $$FROM in /*) ;; *) FROM=$$PWD/$$FROM ;; esac; cd internal/verify && go run ./spec "$$FROM"

verify: ## check that gen/, api/effective.gen.yaml and go.mod are up to date
	go generate ./...
	go mod tidy
	git diff --exit-code -- api gen server/aliases.gen.go server/internal/generate go.mod go.sum
	test -z "$$(git status --porcelain -- api gen)"

lint: ## format, vet and lint every module, and look for known vulnerabilities; needs golangci-lint and govulncheck
	scripts/ci lint vulnerabilities
