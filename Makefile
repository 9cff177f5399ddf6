# Go compiles everything here without a C compiler.
export CGO_ENABLED ?= 0

.PHONY: run test test-all fuzz bench generate spec verify lint

# The program that run builds; go run would hide its exit code and its path.
BINARY ?= $(CURDIR)/registryusers

run: ## serve the API on 127.0.0.1:8080, with a registry to try it on; ARGS adds flags
	@echo "Building $(BINARY): a few minutes the first time, seconds after that"
	@go build -o "$(BINARY)" ./cmd/registryusers
	@exec "$(BINARY)" serve --dev $(ARGS)

test: ## run all tests
	go test ./...

test-all: ## run the tests with the clients that take long to build, and the whole fuzzing; an hour
	go install helm.sh/helm/v3/cmd/helm@v3.22.0
	go install github.com/sigstore/cosign/v2/cmd/cosign@v2.6.5
	PATH="$$(go env GOPATH)/bin:$$PATH" TEST_ALL=1 go test -count=1 ./cmd/registryusers
	$(MAKE) fuzz

# How long to fuzz each: a time, or a number of runs of two requests each.
FUZZTIME ?= 500000x

fuzz: ## compare the server with an independent judge on a million bodies and on a million paths, and its two ways to judge with each other
	cd internal/differential && go test -run '^$$' -fuzz FuzzBody -fuzztime $(FUZZTIME) .
	cd internal/differential && go test -run '^$$' -fuzz FuzzIDs -fuzztime $(FUZZTIME) .
	go test -run '^$$' -fuzz FuzzParse -fuzztime $(FUZZTIME) ./internal/schema

bench: ## measure beside others, some ten minutes on a quiet machine; writes bench/RESULTS.md; ARGS adds flags
	cd bench && go run . $(ARGS)

generate: ## write gen/ from api/
	go generate ./...

spec: export FROM := $(value FROM)
spec: ## take a newer document from FROM=FILE, a documentation page or YAML or JSON; see docs/new-document.md
	@test -n "$$FROM" || { echo "make spec: name the file, FROM=FILE" >&2; exit 2; }
	@case $$FROM in /*) ;; *) FROM=$$PWD/$$FROM ;; esac; cd internal/spec && go run . "$$FROM"

verify: ## check that gen/ and go.mod are what their sources make
	go generate ./...
	go mod tidy
	git diff --exit-code -- gen go.mod go.sum
	test -z "$$(git status --porcelain -- gen)"

lint: ## golangci-lint and govulncheck must be installed
	golangci-lint run
	govulncheck ./...
