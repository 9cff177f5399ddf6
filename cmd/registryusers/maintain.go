package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/datadir"
)

const (
	deleteExpiredInterval = 5 * time.Minute  // how long expired records may stay
	ballastInterval       = 10 * time.Second // how long a missing ballast goes unnoticed
)

// maintain looks after the data directory, until ctx is done or stop is called,
// which waits for it: it deletes expired records, makes the ballast again when
// there is room, and checks a database that was not closed the last time.
func maintain(ctx context.Context, dir *datadir.Dir, a *accounts.Service, logger *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		every(ctx, deleteExpiredInterval, func() {
			if err := a.DeleteExpired(ctx); err != nil && ctx.Err() == nil {
				logger.Error("deleting expired records failed", "error", err)
			}
		})
	})
	done.Go(func() { keepBallast(ctx, dir, logger) })
	if dir.WasUnclean() {
		done.Go(func() { checkDatabase(ctx, dir, logger) })
	}
	return func() {
		cancel()
		done.Wait()
	}
}

// every calls f at once, and then after each interval until ctx is done.
func every(ctx context.Context, interval time.Duration, f func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		f()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func keepBallast(ctx context.Context, dir *datadir.Dir, logger *slog.Logger) {
	wasKept := true
	every(ctx, ballastInterval, func() {
		isKept, err := dir.KeepBallast()
		switch {
		case err != nil && wasKept: // once
			logger.Error("creates are refused: the file that keeps room for the database cannot be looked after", "error", err)
		case wasKept && !isKept:
			logger.Error("the disk is full: creates are refused until there is room again", "data", dir.Path)
		case !wasKept && isKept:
			logger.Info("creates are accepted again", "data", dir.Path)
		}
		wasKept = isKept
	})
}

func checkDatabase(ctx context.Context, dir *datadir.Dir, logger *slog.Logger) {
	logger.Info("the database was not closed the last time: it is checked while it is served")
	start := time.Now()
	findings, err := dir.Check(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		logger.Error("the database could not be checked", "error", err)
	case findings != "":
		logger.Error("the database is damaged: nothing is written to it any more; stop the server and restore a backup with 'registryusers admin restore'", "findings", findings)
	default:
		logger.Info("the database is in order", "duration", time.Since(start))
	}
}
