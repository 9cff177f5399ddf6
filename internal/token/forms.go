package token

import (
	"github.com/registryusers/registryusers/internal/network"
	"github.com/registryusers/registryusers/internal/semaphore"
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
type forms struct{ semaphore.Keyed }

// enter counts a form from an address; leave must be called when it has been read. If a
// limit is reached, leave is nil.
func (f *forms) enter(from string) (leave func()) {
	leave, _ = f.TryAcquire(semaphore.Share{Key: network.Names(from)[0], N: 1, Most: maxFormsPerNetwork}, semaphore.Share{N: 1, Most: maxForms})
	return leave
}
