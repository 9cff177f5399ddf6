//go:build !race

package ociregistry_test

const raceEnabled = false
