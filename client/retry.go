package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiclient"
)

// ErrOutcomeUnknown is [registryusers.ErrOutcomeUnknown]: the request may have
// been carried out or not, and no answer told which. A repeat with the same
// Idempotency-Key tells, of a server that knows that header; see [WithIdempotencyKey].
var ErrOutcomeUnknown = registryusers.ErrOutcomeUnknown

// The defaults of [WithRetry].
const (
	DefaultTries  = 5
	DefaultBudget = time.Minute
)

// The wait before the second try is at most firstWait, and twice that before
// each further one, up to longestWait.
const (
	firstWait   = 250 * time.Millisecond
	longestWait = 8 * time.Second
)

// do sends a request, again if need be, until there is an answer to go by.
// The errors' texts are without the secrets that were sent.
func do[T any](ctx context.Context, c *config, op *operation[T], send sender, secret registryusers.Secret) (T, error) {
	start := time.Now()
	idempotencyKey := c.idempotencyKey
	if idempotencyKey == "" {
		idempotencyKey = rand.Text()
	}
	key, err := c.currentKey(ctx)
	if err != nil {
		return *new(T), op.final(err, 1, false)
	}
	isRenewed := false // the API key, after a 401
	unknown := false   // whether a try may have been carried out
	for try := 1; ; try++ {
		value, err := attempt(ctx, c, op, send, idempotencyKey, key, secret)
		if err == nil {
			return value, nil
		}
		again, maybeDone, after := retryable(op.success, err)
		unknown = unknown || maybeDone
		wait := max(after, mathrand.N(min(firstWait<<min(try-1, 10), longestWait))) //nolint:gosec // nobody gains by guessing it
		if c.source != nil && !isRenewed && try < c.tries && isUnauthenticated(err) {
			newest, sourceErr := c.currentKey(ctx)
			if sourceErr != nil {
				return value, op.final(sourceErr, try, unknown)
			}
			isRenewed, again, wait = true, newest.Reveal() != key.Reveal(), 0
			key = newest
		}
		if !again || ctx.Err() != nil || try >= c.tries || wait > c.budget-time.Since(start) {
			return value, op.final(err, try, unknown)
		}
		c.logger.LogAttrs(ctx, slog.LevelInfo, "the request is repeated",
			slog.String("operation", op.name), slog.Int("try", try), slog.Duration("wait", wait), slog.String("error", err.Error()))
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return value, fmt.Errorf("%w; %w while it waited to try again", op.final(err, try, unknown), ctx.Err())
		}
	}
}

func isUnauthenticated(err error) bool {
	var response *Error
	return errors.As(err, &response) && response.Status == http.StatusUnauthorized
}

// sender sends an operation's request, edited.
type sender func(ctx context.Context, edit apiclient.RequestEditorFn) (*http.Response, error)

var acceptJSON = []string{"application/json"}

// attempt sends a request once.
func attempt[T any](ctx context.Context, c *config, op *operation[T], send sender, idempotencyKey string, key, secret registryusers.Secret) (T, error) {
	if err := ctx.Err(); err != nil { // nothing was sent
		return *new(T), err
	}
	var progress progress
	response, err := send(progress.trace(ctx), func(_ context.Context, r *http.Request) error { //nolint:bodyclose // decode does
		r.Header["Authorization"] = []string{"apikey " + key.Reveal()}
		r.Header["Idempotency-Key"] = []string{idempotencyKey}
		r.Header["Accept"], r.Header["User-Agent"] = acceptJSON, c.userAgent
		r.GetBody = nil // net/http would repeat the request unseen, as it has an Idempotency-Key
		return nil
	})
	if err != nil {
		if progress.isUnsent(c.http.Transport) {
			err = unsentError{err}
		}
		return *new(T), err
	}
	value, err := decode(response, op, key, secret)
	if refused := (*Error)(nil); errors.As(err, &refused) && refused.Status == http.StatusUnauthorized && !strings.Contains(key.Reveal(), "$") {
		refused.hint = "the API key has no $ in it: a shell may have taken it for a variable, unless the key is in single quotes"
	}
	return value, err
}

// progress is how far the HTTP client came with a request. Its hooks may be
// called by other goroutines, even after the request has ended.
type progress struct{ begun, wrote atomic.Bool }

// trace returns a context that has a request note its progress.
func (p *progress) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { p.begun.Store(true) },
		WroteHeaders: func() { p.wrote.Store(true) },
	})
}

// isUnsent reports that no server can have received the request: its header was
// not written. A transport of another type than net/http's may call no hooks,
// which leaves that open until it has called one.
func (p *progress) isUnsent(transport http.RoundTripper) bool {
	if transport == nil {
		transport = http.DefaultTransport
	}
	_, callsHooks := transport.(*http.Transport)
	return (callsHooks || p.begun.Load()) && !p.wrote.Load()
}

// unsentError is why a request was not sent.
type unsentError struct{ error }

func (e unsentError) Unwrap() error { return e.error }

// judge says of a try that failed whether another may succeed, whether it may
// have been carried out all the same, and how long the server asks to wait.
func retryable(success int, err error) (again, maybeDone bool, after time.Duration) {
	var response *Error
	if errors.As(err, &response) {
		switch status := response.Status; {
		case status == success: // but the answer was broken
			return true, true, response.RetryAfter
		case status >= 200 && status < 300: // a success, whose meaning the document does not tell
			return false, true, 0
		case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
			return true, false, response.RetryAfter
		case status == http.StatusServiceUnavailable: // a proxy's does not say what became of the request
			return true, response.Class == "", response.RetryAfter
		case status >= 500:
			return true, true, response.RetryAfter
		}
		return false, false, 0
	}
	var key keyError
	var sending *url.Error // what the HTTP client says
	var unsent unsentError
	var dialing *net.OpError
	var certificate *tls.CertificateVerificationError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &key), !errors.As(err, &sending), errors.As(err, &certificate), errors.As(err, &noTLS), errors.Is(err, http.ErrSchemeMismatch):
		return false, false, 0
	case errors.As(err, &unsent), errors.As(err, &dialing) && dialing.Op == "dial":
		return true, false, 0
	}
	return true, true, 0
}

// final makes the error of a call of the one of its last try.
func (op *operation[T]) final(err error, tries int, unknown bool) error {
	var response *Error
	if errors.As(err, &response) {
		response.tries, response.unknown = tries, unknown
		return response
	}
	text := ""
	if tries > 1 {
		text = fmt.Sprintf(" (after %d tries)", tries)
	}
	if unknown {
		return fmt.Errorf("client: %s: %w, it may have been done or not: %w%s", op.name, ErrOutcomeUnknown, err, text)
	}
	return fmt.Errorf("client: %s: %w%s", op.name, err, text)
}
