package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	sqlite3 "modernc.org/sqlite/lib"

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
	pool      *pool             // one connection
	file      *file             // the database's; nil in memory
	translate func(error) error // translates errors for callers of the package
	queue     chan *write
	stop      func()        // asks the loop to end
	stopping  chan struct{} // closed by stop
	ended     chan struct{} // closed by the loop
}

// write is one caller's change.
type write struct {
	// run may be rolled back and run again, and must not wait for anything but the
	// database.
	run         func(*conn) error
	adds        bool // it adds rows, which needs disk space
	isStatement bool // it changes rows by one statement at most, its last step, which SQLite undoes alone

	created idBlock // where run has created a user; the zero value: nowhere

	err  error         // of run, or of the commit; a *runPanic if run panicked
	done chan struct{} // closed when err is set

	isRunning bool // the writer has claimed it

	// claimed is set by the writer, which then runs the write, or by the caller,
	// who then gives it up: whoever comes first.
	claimed atomic.Bool
}

func newWriter(pool *pool, file *file, translate func(error) error) *writer {
	w := &writer{pool: pool, file: file, translate: translate,
		queue: make(chan *write, maxWaiting), stopping: make(chan struct{}), ended: make(chan struct{})}
	w.stop = sync.OnceFunc(func() { close(w.stopping) })
	go w.loop()
	return w
}

// close stops the writer after the waiting writes are done.
func (w *writer) close() {
	w.stop()
	<-w.ended
}

// do runs a write and returns when it is durable or has failed without effect. If
// ctx ends before the write begins, do returns ErrUnavailable and nothing is done;
// later, the end of ctx has no effect. On a full disk, a write that adds rows is
// refused, to leave space for the writes that add none. If run panics, the write has
// no effect and do panics.
func (w *writer) do(ctx context.Context, write *write) error {
	write.done = make(chan struct{})
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
		return write.result()
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
	return write.result()
}

// result returns the error of a write that is done. If its run panicked, result
// panics: the panic belongs to the caller's goroutine, not to the writer's.
func (w *write) result() error {
	if p, ok := errors.AsType[*runPanic](w.err); ok {
		panic(p)
	}
	return w.err
}

// runPanic is the panic of a write's run.
type runPanic struct {
	value any
	stack []byte // of the writer's goroutine
}

func (p *runPanic) Error() string { return fmt.Sprintf("a write panicked: %v\n\n%s", p.value, p.stack) }

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
		w.commit(w.gather(batch))
	}
}

// gather adds waiting writes to a batch. First it lets other goroutines run as long
// as that brings more writes: fewer and larger commits cost less processor time.
func (w *writer) gather(batch []*write) []*write {
	for before := -1; len(w.queue) > before; {
		before = len(w.queue)
		runtime.Gosched()
	}
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
	if err != nil {
		for _, write := range live {
			write.err = err // also of a write with a conflict: the conflicting row may be rolled back now
		}
	}
	for _, write := range batch {
		write.err = w.translate(write.err)
		close(write.done)
	}
}

// transact runs a batch in one transaction. If one write fails, only that write is
// rolled back. An error that transact returns applies to all of them.
func (w *writer) transact(batch []*write) error {
	if len(batch) == 0 {
		return nil
	}
	if err := w.file.checkDamage(); err != nil {
		return err
	}
	// One caller's end must not roll back the others.
	return w.pool.use(context.Background(), func(c *conn) (err error) {
		if _, _, err := c.exec(begin); err != nil { // after busyTimeout, if another process writes
			return err
		}
		defer func() {
			if err != nil {
				_, _, _ = c.exec(rollback) // SQLite may have rolled back already
			}
		}()
		created := make(map[idBlock]int64, 1)
		for _, write := range batch {
			if !write.isRunning && !write.claimed.CompareAndSwap(false, true) {
				continue // given up
			}
			write.isRunning = true
			if err := write.runIn(c); err != nil {
				return err
			}
			if write.err == nil && write.created != (idBlock{}) {
				created[write.created]++
			}
		}
		if err := c.countUsers(created); err != nil {
			return err
		}
		if err := errors.Join(w.file.checkPath(), w.file.checkRequired()); err != nil {
			return err
		}
		_, _, err = c.exec(commit)
		return err
	})
}

const (
	begin      = "BEGIN IMMEDIATE"
	commit     = "COMMIT"
	rollback   = "ROLLBACK"
	savepoint  = "SAVEPOINT one"
	release    = "RELEASE one"
	rollbackTo = "ROLLBACK TO one"
)

// runIn runs the write and undoes it if it fails. The error that it returns is one
// that ends the whole transaction.
func (w *write) runIn(c *conn) error {
	if w.isStatement {
		w.err = w.tryRun(c)
		return broken(w.err)
	}
	if _, _, err := c.exec(savepoint); err != nil {
		return err
	}
	if w.err = w.tryRun(c); w.err != nil {
		if err := broken(w.err); err != nil {
			return err
		}
		if _, _, err := c.exec(rollbackTo); err != nil {
			return err
		}
	}
	_, _, err := c.exec(release)
	return err
}

// tryRun calls run, and returns its panic as a *runPanic.
func (w *write) tryRun(c *conn) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &runPanic{value, debug.Stack()}
		}
	}()
	return w.run(c)
}

// broken returns err if it ends the transaction: SQLite undoes the statement alone
// only if it violates a constraint.
func broken(err error) error {
	switch code(err) {
	case sqlite3.SQLITE_OK, sqlite3.SQLITE_CONSTRAINT:
		return nil
	}
	return err
}
