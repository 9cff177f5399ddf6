package ociregistry

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// minAge is how old anything is at least that is removed without a request:
	// abandoned uploads, and what the garbage collection finds. A push may take
	// that long from its first blob to its manifest.
	minAge = 24 * time.Hour
	// purgeInterval is how often abandoned uploads are looked for.
	purgeInterval = time.Hour
)

// purgeUploads removes abandoned uploads, now and from time to time, until ctx ends.
func purgeUploads(ctx context.Context, images *imageDirectory, logger *slog.Logger) {
	ticker := time.NewTicker(purgeInterval)
	defer ticker.Stop()
	for {
		n, err := removeUploads(ctx, images, time.Now())
		if n > 0 {
			logger.LogAttrs(ctx, slog.LevelInfo, "registry: removed abandoned uploads", slog.Int("uploads", n))
		}
		if err != nil && ctx.Err() == nil {
			logger.LogAttrs(ctx, slog.LevelError, "registry: not all abandoned uploads could be removed", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// removeUploads removes the uploads that were begun, and last written to, more
// than [minAge] ago, and directories of repositories that are empty. It returns
// how many uploads it removed.
func removeUploads(ctx context.Context, images *imageDirectory, now time.Time) (n int, err error) {
	var failures []error
	err = eachRepository(ctx, images.root, func(repository string, err error) error {
		directory := filepath.Join(repository, "_uploads")
		ids, failure := directories(directory)
		failures = append(failures, err, failure)
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return err
			}
			upload := filepath.Join(directory, id)
			if now.Sub(lastUse(upload)) < minAge {
				continue
			}
			if err := os.RemoveAll(upload); err != nil {
				failures = append(failures, err)
				continue
			}
			n++
		}
		images.prune(directory)
		return nil
	})
	return n, errors.Join(append(failures, err)...)
}

// lastUse returns when an upload was begun or last written to.
func lastUse(upload string) time.Time {
	var last time.Time
	content, err := os.ReadFile(filepath.Join(upload, "startedat"))
	if err == nil {
		last, err = time.Parse(time.RFC3339, strings.TrimSpace(string(content)))
	}
	if err != nil { // none, or damaged: the time of its directory has to do
		if info, err := os.Stat(upload); err == nil {
			last = info.ModTime()
		}
	}
	if info, err := os.Stat(filepath.Join(upload, "data")); err == nil && info.ModTime().After(last) {
		last = info.ModTime()
	}
	return last
}

// stateOffset returns the size that an upload had when the library gave out a
// Location with the state, an HMAC-SHA-256 and JSON, which the library has
// verified. It is -1 for any other text.
func stateOffset(state string) int64 {
	content, err := base64.URLEncoding.DecodeString(state)
	if err != nil || len(content) < sha256.Size {
		return -1
	}
	var fields struct{ Offset int64 }
	if json.Unmarshal(content[sha256.Size:], &fields) != nil {
		return -1
	}
	return fields.Offset
}
