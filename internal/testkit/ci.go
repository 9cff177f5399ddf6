package testkit

import "os"

// InCI returns how often to repeat something: as often as CI does there, and less
// often on a person's machine.
func InCI(often, less int) int {
	if os.Getenv("CI") != "" || os.Getenv("TEST_ALL") != "" {
		return often
	}
	return less
}
