package images

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/registryusers/registryusers/internal/store"
)

const (
	deleteExpiredInterval = 5 * time.Minute  // between two deletions of expired records
	ballastInterval       = 10 * time.Second // between two checks of the ballast
)

// maintain maintains the database in the background until ctx is done or stop is
// called: it deletes expired records, creates the ballast again when there is room,
// and checks a database that was not closed the last time. stop waits until it has
// ended.
func (a *App) maintain(ctx context.Context) (stop func()) {
	database := a.dir.Store
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		every(ctx, deleteExpiredInterval, func() {
			if err := a.Accounts.DeleteExpired(ctx); err != nil && ctx.Err() == nil {
				a.Logger.Error("deleting expired records failed", "error", err)
			}
		})
	})
	done.Go(func() { keepBallast(ctx, database, a.Logger) })
	if database.WasUnclean() {
		done.Go(func() { checkDatabase(ctx, database, a.Logger) })
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

func keepBallast(ctx context.Context, database store.Store, logger *slog.Logger) {
	wasKept := true
	every(ctx, ballastInterval, func() {
		isKept, err := database.ReserveDisk()
		switch {
		case err != nil && wasKept: // logged once
			logger.Error("create requests are refused: the file that reserves disk space for the database cannot be checked or created", "error", err)
		case wasKept && !isKept:
			logger.Error("the disk is full: create requests are refused until there is room again")
		case !wasKept && isKept:
			logger.Info("create requests are accepted again")
		}
		wasKept = isKept
	})
}

func checkDatabase(ctx context.Context, database store.Store, logger *slog.Logger) {
	logger.Info("the database was not closed the last time: checking it while the server runs")
	start := time.Now()
	findings, err := database.QuickCheck(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		logger.Error("the database could not be checked", "error", err)
	case findings != "":
		logger.Error("the database is damaged, and all writes are refused: stop the server and restore a backup with 'registryusers admin restore FILE'", "findings", findings)
	default:
		logger.Info("the database is in order", "duration", time.Since(start))
	}
}
