package ociregistry

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// purgeInterval is the time between two purges of abandoned uploads.
const purgeInterval = time.Hour

// purgeUploads removes abandoned uploads, at once and then every [purgeInterval],
// until ctx ends.
func purgeUploads(ctx context.Context, images *imageDirectory, logger *slog.Logger) {
	ticker := time.NewTicker(purgeInterval)
	defer ticker.Stop()
	for {
		n, err := removeUploads(ctx, images, time.Now())
		if n > 0 {
			logger.LogAttrs(ctx, slog.LevelInfo, "removed abandoned uploads", slog.Int("uploads", n))
		}
		if err != nil && ctx.Err() == nil {
			logger.LogAttrs(ctx, slog.LevelError, "not all abandoned uploads could be removed", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// removeUploads removes the uploads that were last written to, and started, at least
// [minAge] ago, and empty directories of repositories. It returns how many uploads
// it removed.
func removeUploads(ctx context.Context, images *imageDirectory, now time.Time) (n int, err error) {
	var failures []error
	err = eachRepository(ctx, images.below(repositoriesRoot), func(repository string, err error) error {
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
			} else {
				n++
			}
		}
		images.prune(directory)
		return nil
	})
	return n, errors.Join(append(failures, err)...)
}

// lastUse returns when an upload was started or last written to, whichever is later.
func lastUse(upload string) time.Time {
	var last time.Time
	content, err := os.ReadFile(filepath.Join(upload, "startedat"))
	if err == nil {
		last, err = time.Parse(time.RFC3339, strings.TrimSpace(string(content)))
	}
	if err != nil { // missing or damaged: use the time of the directory
		if info, err := os.Stat(upload); err == nil {
			last = info.ModTime()
		}
	}
	if info, err := os.Stat(filepath.Join(upload, "data")); err == nil && info.ModTime().After(last) {
		last = info.ModTime()
	}
	return last
}
