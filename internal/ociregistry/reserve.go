package ociregistry

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/registryusers/registryusers/internal/diskspace"
)

// DefaultReserve is the [Options.Reserve] that stands for the larger of 256 MiB and 2 % of the file system.
const DefaultReserve = -1

const (
	smallestDefaultReserve = 256 << 20
	// reserveStep is how many bytes uploads write, all together, between two
	// looks at the free space.
	reserveStep = 16 << 20
)

// reserve keeps uploads from taking the last space of the file system, which
// the accounts need: a user must be removable while the disk is full.
type reserve struct {
	root   string // a directory on the file system; "": nothing is reserved
	size   int64  // [Options.Reserve]
	logger *slog.Logger

	unseen atomic.Int64 // bytes written since the last look
	low    atomic.Bool  // what the last look found
}

// of returns the reserve in bytes on a file system of that many bytes.
func (r *reserve) of(total uint64) uint64 {
	if r.size < 0 {
		return max(smallestDefaultReserve, total/50)
	}
	return uint64(r.size)
}

var errReserve = errors.New("the free space is below the reserve")

// look looks at the free space, and reports whether it is below the reserve.
func (r *reserve) look(ctx context.Context) bool {
	if r.root == "" || r.size == 0 {
		return false
	}
	free, total, ok := diskspace.Of(r.root)
	if !ok {
		return false
	}
	size := r.of(total)
	low := free < size
	if r.low.Swap(low) != low {
		attrs := []slog.Attr{slog.Uint64("free", free), slog.Uint64("reserve", size)}
		if low {
			r.logger.LogAttrs(ctx, slog.LevelError, "registry: uploads are refused: the free space is below the reserve; free some, or set --reserve", attrs...)
		} else {
			r.logger.LogAttrs(ctx, slog.LevelInfo, "registry: uploads are accepted again", attrs...)
		}
	}
	return low
}

// spend notes bytes that are about to be written, and reports whether the
// upload must end.
func (r *reserve) spend(ctx context.Context, n int) bool {
	if r.unseen.Add(int64(n)) >= reserveStep {
		r.unseen.Store(0)
		return r.look(ctx)
	}
	return r.low.Load()
}

// noteFull notes at the request of a context that an error came of a full disk:
// the library's answers do not tell. It returns the error.
func noteFull(ctx context.Context, err error) error {
	cause := err
	var wrapped driver.Error // has no Unwrap
	if errors.As(err, &wrapped) {
		cause = wrapped.Detail
	}
	if errors.Is(cause, errReserve) || diskspace.IsFull(cause) {
		if w, ok := ctx.Value(recorderKey{}).(*recorder); ok {
			w.diskFull.Store(true)
		}
	}
	return err
}
