//go:build race

package client

// The race detector allocates memory itself.
const raceEnabled = true
