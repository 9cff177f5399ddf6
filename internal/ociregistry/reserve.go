package ociregistry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/registryusers/registryusers/internal/diskspace"
	"github.com/registryusers/registryusers/internal/oci"
)

// DefaultReserve is the [Options.Reserve] that means the larger of 256 MiB and 2 %
// of the file system.
const DefaultReserve = -1

const (
	minDefaultReserve = 256 << 20
	// minInodeReserve is the smallest number of inodes that uploads leave, if
	// the file system has a fixed number of them; see [reservedInodes].
	minInodeReserve = 1024
	// reserveStep is how many bytes all uploads together write between two checks
	// of the free space.
	reserveStep = 16 << 20
)

// reserve prevents uploads from using the last space and the last inodes of the file
// system, which the accounts need: users can be deleted while the disk is full.
type reserve struct {
	root string // a directory on the file system
	size int64  // [Options.Reserve]
	// accountsDiskFull is [Options.AccountsDiskFull].
	accountsDiskFull func() bool
	logger           *slog.Logger

	unchecked atomic.Int64 // bytes written since the last check
	low       atomic.Bool  // the result of the last check
}

// bytes returns the reserve in bytes for the total bytes of a file system.
func (r *reserve) bytes(total uint64) uint64 {
	if r.size < 0 {
		return max(minDefaultReserve, total/50)
	}
	return uint64(r.size)
}

// reservedInodes returns the reserve in inodes for the total inodes of a file system.
func reservedInodes(total uint64) uint64 {
	if total == 0 { // the number is not fixed
		return 0
	}
	return max(minInodeReserve, total/50)
}

var errReserve = errors.New("the disk is full, or its free space or free inodes are below the reserve")

// refuses checks the file system and reports whether uploads must be refused. It logs
// changes.
func (r *reserve) refuses(ctx context.Context) bool {
	reason, attrs := r.shortage()
	low := reason != ""
	if r.low.Swap(low) != low {
		if low {
			r.logger.LogAttrs(ctx, slog.LevelError, "uploads are refused: "+reason, attrs...)
		} else {
			r.logger.LogAttrs(ctx, slog.LevelInfo, "uploads are accepted again", attrs...)
		}
	}
	return low
}

// shortage returns why uploads must be refused, or "".
func (r *reserve) shortage() (reason string, attrs []slog.Attr) {
	if r.isFull() {
		return "the disk is full: free some space; until then only users and keys can be removed", nil
	}
	if r.size == 0 {
		return "", nil
	}
	space, ok := diskspace.Of(r.root)
	if !ok {
		return "", nil
	}
	if size := r.bytes(space.Total); space.Free < size {
		return "the free space is below the reserve; free some, or set --reserve", []slog.Attr{slog.Uint64("free_bytes", space.Free), slog.Uint64("reserve_bytes", size)}
	}
	if files := reservedInodes(space.Files); space.FreeFiles < files {
		return "the free inodes are below the reserve; remove files, or run 'registryusers admin gc'", []slog.Attr{slog.Uint64("free_inodes", space.FreeFiles), slog.Uint64("reserve_inodes", files)}
	}
	return "", nil
}

// isFull reports whether the disk of the accounts is full.
func (r *reserve) isFull() bool { return r.accountsDiskFull != nil && r.accountsDiskFull() }

// refusesWrite counts bytes that are about to be written, and reports whether the upload
// must end.
func (r *reserve) refusesWrite(ctx context.Context, n int) bool {
	if r.unchecked.Add(int64(n)) >= reserveStep || r.isFull() {
		r.unchecked.Store(0)
		return r.refuses(ctx)
	}
	return r.low.Load()
}

// errDiskFull is the response to an upload for which there is no space.
var errDiskFull = &oci.Error{
	Status:     http.StatusInsufficientStorage,
	Code:       oci.CodeUnavailable,
	Message:    "the registry has no disk space left for uploads: ask its operator to free some; pulls and deletes still work",
	RetryAfter: time.Minute,
}

// recordDiskFull refuses the request of ctx if a full disk caused err, because the
// library's responses do not say so. It returns err.
func recordDiskFull(ctx context.Context, err error) error {
	cause := withoutPath(err)
	if e := exchangeOf(ctx); e != nil && (errors.Is(cause, errReserve) || diskspace.IsFull(cause)) {
		full := *errDiskFull
		full.Cause = cause
		_ = e.refuse(&full)
	}
	return err
}
