//go:build race

package client

// raceEnabled: the race detector allocates on its own account.
const raceEnabled = true
