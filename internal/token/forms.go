package token

import (
	"sync"

	"github.com/registryusers/registryusers/internal/network"
)

// The limits of how many forms are read at the same time. Any client may send a
// form slowly, and over HTTP/2 hardly a byte makes the server allocate memory for
// its header. A form that arrives at once counts for a moment only, and a login by
// GET has no form.
const (
	maxForms           = 1024
	maxFormsPerNetwork = 32 // for an IPv4 address or an IPv6 /64
)

// forms counts the forms that are being read.
type forms struct {
	mu        sync.Mutex
	total     int
	byNetwork map[string]int
}

// enter counts a form; leave must be called when it has been read. If a limit is
// reached, leave is nil.
func (f *forms) enter(from string) (leave func()) {
	address := network.Names(from)[0]
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total >= maxForms || f.byNetwork[address] >= maxFormsPerNetwork {
		return nil
	}
	if f.byNetwork == nil {
		f.byNetwork = make(map[string]int)
	}
	f.total++
	f.byNetwork[address]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.total--
		if f.byNetwork[address]--; f.byNetwork[address] == 0 {
			delete(f.byNetwork, address)
		}
	}
}
