//go:build race

package ociregistry_test

const raceEnabled = true
