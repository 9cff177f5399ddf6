# Go compiles everything here without a C compiler.
export CGO_ENABLED ?= 0

.PHONY: run test generate verify lint

run: ## serve the API on 127.0.0.1:8080, with a registry to try it on; ARGS adds flags
	go run ./cmd/registryusers serve --dev $(ARGS)

test: ## run all tests
	go test ./...

generate: ## write gen/ from api/
	go generate ./...

verify: ## check that gen/ and go.mod are what their sources make
	go generate ./...
	go mod tidy
	git diff --exit-code -- gen go.mod go.sum
	test -z "$$(git status --porcelain -- gen)"

lint: ## golangci-lint and govulncheck must be installed
	golangci-lint run
	govulncheck ./...
