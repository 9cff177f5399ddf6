package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync"

	"modernc.org/sqlite"

	"github.com/registryusers/registryusers"
)

// conn is a connection of the driver with its prepared statements. One goroutine
// at a time may use it. Package database/sql would cost three times as much as a
// query that finds one row.
type conn struct {
	driver.Conn
	prepared map[string]driver.Stmt
	args     []driver.NamedValue // of the current statement
}

func connect(name string) (*conn, error) {
	c, err := new(sqlite.Driver).Open(name)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, prepared: make(map[string]driver.Stmt)}, nil
}

// Close closes the connection and its statements: SQLite keeps the files open as
// long as there is one.
func (c *conn) Close() error {
	var errs []error
	for _, statement := range c.prepared {
		errs = append(errs, statement.Close())
	}
	return errors.Join(append(errs, c.Conn.Close())...)
}

// prepare prepares a statement, once for each connection, and sets c.args. An
// argument is an int64, a string, a []byte, a bool or nil.
func (c *conn) prepare(query string, args []any) (statement driver.Stmt, err error) {
	if statement = c.prepared[query]; statement == nil {
		if statement, err = c.Prepare(query); err != nil {
			return nil, err
		}
		c.prepared[query] = statement
	}
	c.args = c.args[:0]
	for i, arg := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: arg})
	}
	return statement, nil
}

// exec runs a statement, and returns the number of rows that it changed and the id
// of the row that it inserted. It does not watch a context, which costs a goroutine.
func (c *conn) exec(query string, args ...any) (changed, id int64, err error) {
	statement, err := c.prepare(query, args)
	if err != nil {
		return 0, 0, err
	}
	result, err := statement.(driver.StmtExecContext).ExecContext(context.Background(), c.args)
	clear(c.args)
	if err != nil {
		return 0, 0, err
	}
	changed, err1 := result.RowsAffected()
	id, err2 := result.LastInsertId()
	return changed, id, errors.Join(err1, err2)
}

// script runs statements that are not prepared.
func (c *conn) script(ctx context.Context, text string, args ...driver.NamedValue) error {
	_, err := c.Conn.(driver.ExecerContext).ExecContext(ctx, text, args)
	return err
}

// row is a row that a query found.
type row []driver.Value

// scan stores the first columns in what the pointers point to. NULL is stored as
// the zero value.
func (r row) scan(into ...any) error {
	for i, pointer := range into {
		ok := true
		switch p := pointer.(type) {
		case *int64:
			*p, ok = r[i].(int64)
		case *bool:
			var n int64
			n, ok = r[i].(int64)
			*p = n != 0
		case *string:
			*p, ok = r[i].(string)
		case *[]byte:
			*p, ok = r[i].([]byte)
		}
		if !ok && r[i] != nil {
			return fmt.Errorf("the column %d has a value of the type %T: %w", i, r[i], errDamaged)
		}
	}
	return nil
}

// query calls found with each row that a query finds. The end of ctx ends it; a
// context that cannot end costs less.
func (c *conn) query(ctx context.Context, found func(row) error, query string, args ...any) (err error) {
	statement, err := c.prepare(query, args)
	if err != nil {
		return err
	}
	rows, err := statement.(driver.StmtQueryContext).QueryContext(ctx, c.args)
	clear(c.args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	values := make(row, len(rows.Columns()))
	for {
		if err := rows.Next(values); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := found(values); err != nil {
			return err
		}
	}
}

// queryOne returns the row that a query finds, or the error none.
func queryOne[T any](c *conn, scan func(row) (T, error), none error, query string, args ...any) (v T, err error) {
	isFound := false
	err = c.query(context.Background(), func(r row) (err error) {
		isFound = true
		v, err = scan(r)
		return err
	}, query, args...)
	if err == nil && !isFound {
		err = none
	}
	return v, err
}

// queryAll returns the rows that a query finds.
func queryAll[T any](c *conn, scan func(row) (T, error), query string, args ...any) (values []T, err error) {
	err = c.query(context.Background(), func(r row) error {
		v, err := scan(r)
		values = append(values, v)
		return err
	}, query, args...)
	return values, err
}

func scanText(r row) (text string, err error) { return text, r.scan(&text) }

func scanInt(r row) (n int64, err error) { return n, r.scan(&n) }

// pool has the connections to one database with the same settings.
type pool struct {
	name  string
	conns chan *conn // nil: not connected yet
	close func() error
}

func newPool(name string, size int) *pool {
	p := &pool{name: name, conns: make(chan *conn, size)}
	for range size {
		p.conns <- nil
	}
	p.close = sync.OnceValue(func() (err error) {
		for range size {
			if c := <-p.conns; c != nil {
				err = errors.Join(err, c.Close())
			}
		}
		close(p.conns)
		return err
	})
	return p
}

// use calls run with a connection. If ctx ends before there is one, it returns
// ErrUnavailable.
func (p *pool) use(ctx context.Context, run func(*conn) error) (err error) {
	if err := ctx.Err(); err != nil {
		return cancelledError(err)
	}
	var c *conn
	var isOpen bool
	select {
	case c, isOpen = <-p.conns:
	case <-ctx.Done():
		return cancelledError(ctx.Err())
	}
	if !isOpen {
		return errClosed
	}
	defer func() { p.conns <- c }()
	if c == nil {
		if c, err = connect(p.name); err != nil {
			return err
		}
	}
	err = run(c)
	if !c.Conn.(driver.Validator).IsValid() { // it was interrupted
		_ = c.Close()
		c = nil
	}
	return err
}

// cancelledError is the error for a context that ended before its read or write began.
func cancelledError(err error) error {
	return fmt.Errorf("%w: nothing was done: %w", registryusers.ErrUnavailable, err)
}

var errClosed = errors.New("the database is closed")
