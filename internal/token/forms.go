package token

import (
	"sync"

	"github.com/registryusers/registryusers/internal/network"
)

// How many forms are read at a time. A stranger may send one slowly, and over
// HTTP/2 it takes memory for its header with hardly a byte sent. A form that
// comes at once holds its place for a moment, and a login by GET has none.
const (
	maxForms           = 1024
	maxFormsPerNetwork = 32 // of an IPv4 address or an IPv6 /64
)

// forms counts the forms that are being read.
type forms struct {
	mu        sync.Mutex
	total     int
	byNetwork map[string]int
}

// enter counts a form in; leave must be called when it has been read. Beyond a
// limit, leave is nil.
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
