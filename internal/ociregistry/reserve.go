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
	// smallestFileReserve is how many inodes uploads leave at least, where the
	// file system has a fixed number of them; see [reserve.files].
	smallestFileReserve = 1024
	// reserveStep is how many bytes uploads write, all together, between two
	// looks at the free space.
	reserveStep = 16 << 20
)

// reserve keeps uploads from taking the last space and the last inodes of the
// file system, which the accounts need: a user must be removable while the disk
// is full.
type reserve struct {
	root string // a directory on the file system; "": nothing is reserved
	size int64  // [Options.Reserve]
	// accountsFull is [Options.AccountsFull].
	accountsFull func() bool
	logger       *slog.Logger

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

// files returns how many inodes are reserved on a file system of that many.
func (r *reserve) files(total uint64) uint64 {
	if total == 0 { // without a fixed number
		return 0
	}
	return max(smallestFileReserve, total/50)
}

var errReserve = errors.New("the disk is full, or its free space or free inodes are below the reserve")

// look looks at the file system, and reports whether uploads must be refused.
func (r *reserve) look(ctx context.Context) bool {
	reason, attrs := r.lacks()
	low := reason != ""
	if r.low.Swap(low) != low {
		if low {
			r.logger.LogAttrs(ctx, slog.LevelError, "registry: uploads are refused: "+reason, attrs...)
		} else {
			r.logger.LogAttrs(ctx, slog.LevelInfo, "registry: uploads are accepted again", attrs...)
		}
	}
	return low
}

// lacks returns why uploads must be refused, or "".
func (r *reserve) lacks() (reason string, attrs []slog.Attr) {
	if r.isFull() {
		return "the disk is full, and what was freed is for removing users and keys; free some space", nil
	}
	if r.root == "" || r.size == 0 {
		return "", nil
	}
	space, ok := diskspace.Of(r.root)
	if !ok {
		return "", nil
	}
	if size := r.of(space.Total); space.Free < size {
		return "the free space is below the reserve; free some, or set --reserve", []slog.Attr{slog.Uint64("free", space.Free), slog.Uint64("reserve", size)}
	}
	if files := r.files(space.Files); space.FreeFiles < files {
		return "the free inodes are below the reserve; remove files, or run 'registryusers admin gc'", []slog.Attr{slog.Uint64("free_inodes", space.FreeFiles), slog.Uint64("reserve_inodes", files)}
	}
	return "", nil
}

// isFull reports whether the disk of the accounts is full.
func (r *reserve) isFull() bool { return r.accountsFull != nil && r.accountsFull() }

// spend notes bytes that are about to be written, and reports whether the
// upload must end.
func (r *reserve) spend(ctx context.Context, n int) bool {
	if r.unseen.Add(int64(n)) >= reserveStep || r.isFull() {
		r.unseen.Store(0)
		return r.look(ctx)
	}
	return r.low.Load()
}

// noteFull notes at the request of a context that an error came of a full disk:
// the library's answers do not tell. It returns the error.
func noteFull(ctx context.Context, err error) error {
	cause := storageCause(err)
	if errors.Is(cause, errReserve) || diskspace.IsFull(cause) {
		if e := exchangeOf(ctx); e != nil {
			e.diskFull.Store(true)
		}
	}
	return err
}

// storageCause returns what the library's storage driver wraps in its own error,
// which has no Unwrap.
func storageCause(err error) error {
	var wrapped driver.Error
	if errors.As(err, &wrapped) {
		return wrapped.Detail
	}
	return err
}
