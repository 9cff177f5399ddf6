package main

//go:generate go tool ogen --target ogen/telemetry --package telemetry --config ogen/telemetry.yml --clean ../api/cloud_api.yaml
//go:generate go tool ogen --target ogen/plain --package plain --config ogen/plain.yml --clean ../api/cloud_api.yaml
//go:generate go tool oapi-codegen -config stock/config.yaml ../api/cloud_api.yaml
