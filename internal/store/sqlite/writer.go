package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/registryusers/registryusers"
)

// Waiting writes are committed together: one transaction has all writes that
// arrived while the transaction before was synced to the disk. A single write costs
// one commit and does not wait.
const (
	maxWaiting = 4096 // writes in the queue; further ones are refused
	maxBatch   = 512  // writes in one transaction, which bounds how long the first one waits
)

// writer runs the writes of a store, one after the other.
type writer struct {
	db        *sql.DB // one connection
	file      *file   // the database's; nil in memory
	prepared  map[string]*sql.Stmt
	translate func(error) error // translates errors for callers of the package
	queue     chan *write
	stop      func()        // asks the loop to end
	stopping  chan struct{} // closed by stop
	ended     chan struct{} // closed by the loop
}

// write is one caller's change.
type write struct {
	run  func(context.Context, *transaction) error
	adds bool          // it adds rows, which needs disk space
	err  error         // of run, or of the commit
	done chan struct{} // closed when err is set

	isRunning bool // the writer has claimed it

	// claimed is set by the writer, which then runs the write, or by the caller,
	// who then gives it up: whoever comes first.
	claimed atomic.Bool
}

// transaction runs the statements of writes.
type transaction struct {
	tx       *sql.Tx
	prepared map[string]*sql.Stmt
}

// ExecContext runs a statement. The statements in [preparedWrites] are prepared.
func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if statement := t.prepared[query]; statement != nil {
		return t.tx.StmtContext(ctx, statement).ExecContext(ctx, args...)
	}
	return t.tx.ExecContext(ctx, query, args...)
}

func newWriter(ctx context.Context, db *sql.DB, file *file, translate func(error) error) (*writer, error) {
	w := &writer{db: db, file: file, prepared: make(map[string]*sql.Stmt), translate: translate,
		queue: make(chan *write, maxWaiting), stopping: make(chan struct{}), ended: make(chan struct{})}
	w.stop = sync.OnceFunc(func() { close(w.stopping) })
	for _, query := range preparedWrites {
		statement, err := db.PrepareContext(ctx, query)
		if err != nil {
			return nil, err
		}
		w.prepared[query] = statement // closed with db
	}
	go w.loop()
	return w, nil
}

// close stops the writer after the waiting writes are done.
func (w *writer) close() {
	w.stop()
	<-w.ended
}

// do runs a write and returns when it is durable or has failed without effect. run
// may be rolled back and run again, and must not wait for anything but the database.
// If ctx ends before the write begins, do returns ErrUnavailable and nothing is
// done; later, the end of ctx has no effect.
func (w *writer) do(ctx context.Context, run func(context.Context, *transaction) error) error {
	return w.wait(ctx, &write{run: run, done: make(chan struct{})})
}

// add is do for a write that adds rows. On a full disk it is refused, to leave
// space for the writes that add none.
func (w *writer) add(ctx context.Context, run func(context.Context, *transaction) error) error {
	return w.wait(ctx, &write{run: run, adds: true, done: make(chan struct{})})
}

func (w *writer) wait(ctx context.Context, write *write) error {
	if err := ctx.Err(); err != nil {
		return cancelledError(err)
	}
	select {
	case w.queue <- write:
	default:
		return fmt.Errorf("%w: %d writes wait already", registryusers.ErrUnavailable, maxWaiting)
	}
	select {
	case <-write.done:
		return write.err
	case <-ctx.Done():
		if write.claimed.CompareAndSwap(false, true) {
			return cancelledError(ctx.Err())
		}
	case <-w.ended:
		if write.claimed.CompareAndSwap(false, true) {
			return errClosed
		}
	}
	<-write.done // the writer has claimed it
	return write.err
}

// cancelledError is the error for a context that ended before its read or write began.
func cancelledError(err error) error {
	return fmt.Errorf("%w: nothing was done: %w", registryusers.ErrUnavailable, err)
}

var errClosed = errors.New("the database is closed")

func (w *writer) loop() {
	defer close(w.ended)
	batch := make([]*write, 0, maxBatch)
	for {
		select {
		case first := <-w.queue:
			batch = append(batch[:0], first)
		case <-w.stopping:
			select { // writes that were queued before
			case first := <-w.queue:
				batch = append(batch[:0], first)
			default:
				return
			}
		}
		w.commit(w.takeBatch(batch))
	}
}

// takeBatch adds waiting writes to a batch.
func (w *writer) takeBatch(batch []*write) []*write {
	for len(batch) < maxBatch {
		select {
		case next := <-w.queue:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// commit runs a batch in one transaction and reports the result to each caller.
func (w *writer) commit(batch []*write) {
	isFull := w.file != nil && w.file.ballast.isReleased()
	var live []*write
	for _, write := range batch {
		if isFull && write.adds {
			write.err = errNoRoom
		} else {
			live = append(live, write)
		}
	}
	err := w.transact(live)
	if err != nil && w.file != nil && w.file.ballast.release(err) {
		// The released space is for writes that add nothing.
		var rest []*write
		for _, write := range live {
			if write.adds {
				write.err = errNoRoom
			} else {
				rest = append(rest, write)
			}
		}
		live, err = rest, w.transact(rest)
	}
	if err = w.translate(err); err != nil {
		for _, write := range live {
			write.err = err // also of a write with a conflict: the conflicting row may be rolled back now
		}
	}
	for _, write := range batch {
		close(write.done)
	}
}

// transact runs a batch in one transaction. If one write fails, only that write is
// rolled back. An error that transact returns applies to all of them.
func (w *writer) transact(batch []*write) (err error) {
	if len(batch) == 0 {
		return nil
	}
	if err := w.file.checkDamage(); err != nil {
		return err
	}
	ctx := context.Background() // one caller's end must not roll back the others
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil { // after busyTimeout, if another process writes
		return err
	}
	defer tx.Rollback()
	t := &transaction{tx, w.prepared}
	for _, write := range batch {
		if !write.isRunning && !write.claimed.CompareAndSwap(false, true) {
			continue // given up
		}
		write.isRunning = true
		if len(batch) == 1 {
			if write.err = write.run(ctx, t); mayBeFull(write.err) {
				return write.err
			} else if write.err != nil {
				return nil // which rolls back
			}
		} else if write.err, err = runInSavepoint(ctx, t, write.run); err != nil {
			return err
		}
	}
	if err := errors.Join(w.file.checkPath(), w.file.checkRequired()); err != nil {
		return err
	}
	return tx.Commit()
}

const (
	savepoint  = "SAVEPOINT one"
	release    = "RELEASE one"
	rollbackTo = "ROLLBACK TO one"
)

// runInSavepoint runs a write and rolls it back if it fails. It returns the error
// of the write, failed, and one that ends the whole transaction, broken.
func runInSavepoint(ctx context.Context, t *transaction, run func(context.Context, *transaction) error) (failed, broken error) {
	if _, err := t.ExecContext(ctx, savepoint); err != nil {
		return nil, err
	}
	if failed = run(ctx, t); mayBeFull(failed) { // then SQLite has rolled back the transaction
		return failed, failed
	} else if failed != nil {
		if _, err := t.ExecContext(ctx, rollbackTo); err != nil { // SQLite has rolled back the transaction, because of failed
			return failed, fmt.Errorf("%w, after: %v", err, failed) //nolint:errorlint // failed is one caller's error, not every caller's
		}
	}
	_, err := t.ExecContext(ctx, release)
	return failed, err
}
