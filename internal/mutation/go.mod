module github.com/registryusers/registryusers/internal/mutation

go 1.26.0
