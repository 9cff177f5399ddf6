package registryusers

//go:generate go run ./internal/effective
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen -config api/models.yaml api/cloud_api.yaml
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen -config api/apiclient.yaml api/cloud_api.yaml
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen -config api/apiserver.yaml api/cloud_api.yaml
//go:generate go run ./server/internal/generate api/apiserver.yaml api/cloud_api.yaml gen/apiserver/adapter.gen.go
//go:generate go run ./server/internal/generate aliases server/aliases.gen.go gen/apiserver/apiserver.gen.go gen/apiserver/adapter.gen.go gen/models/models.gen.go
//go:generate go run ./server/internal/generate logvalues gen/models/models.gen.go
//go:generate go run ./server/internal/generate logvalues gen/models/models.gen.go gen/apiserver/apiserver.gen.go
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen -config server/internal/generate/fixture/config.yaml server/internal/generate/fixture/document.yaml
//go:generate go run ./server/internal/generate server/internal/generate/fixture/config.yaml server/internal/generate/fixture/document.yaml server/internal/generate/fixture/adapter.gen.go
//go:generate go run ./server/internal/generate logvalues server/internal/generate/fixture/fixture.gen.go
