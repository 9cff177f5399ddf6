package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
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
)

// ErrOutcomeUnknown is [registryusers.ErrOutcomeUnknown]: the request may or may
// not have been carried out, and no response said which. If the server supports
// Idempotency-Key, a repeat with the same key finds out; see [WithIdempotencyKey].
var ErrOutcomeUnknown = registryusers.ErrOutcomeUnknown

// The defaults of [WithRetry].
const (
	DefaultTries  = 5
	DefaultBudget = time.Minute
)

// The wait before the second try is at most firstWait. The limit doubles before
// each further try, up to longestWait.
const (
	firstWait   = 250 * time.Millisecond
	longestWait = 8 * time.Second
)

// call is one call of an operation.
type call[T any] struct {
	*config
	op             *operation[T]
	endpoint       *endpoint
	body           []byte // of the request, or nil
	idempotencyKey string // "" if the operation reads
	repeated       bool   // net/http has repeated a try by itself
}

// send calls an operation. parameters and generate are those of endpointOf. body is
// sent as JSON, or nil for an operation without a body; secrets are those in it, which
// no error contains.
func send[T any, P comparable](ctx context.Context, c *config, op *operation[T], parameters P, generate func() (*http.Request, error), body any, secrets ...registryusers.Secret) (T, error) {
	to, err := endpointOf(c, op, parameters, generate)
	var text []byte
	if err == nil && body != nil {
		text, err = json.Marshal(body)
	}
	if err != nil {
		return *new(T), fmt.Errorf("client: %s: %w", op.name, err)
	}
	return (&call[T]{config: c, op: op, endpoint: to, body: text}).do(ctx, secrets)
}

// do sends the request, and repeats it until a try succeeds, fails for good, or
// WithRetry's limits are reached. Its errors do not contain the secrets that were
// sent. The outcome of an operation that reads is never unknown.
func (c *call[T]) do(ctx context.Context, secrets []registryusers.Secret) (T, error) {
	start := time.Now()
	reads := c.endpoint.reads()
	if !reads {
		if c.idempotencyKey = c.config.idempotencyKey; c.idempotencyKey == "" {
			c.idempotencyKey = rand.Text()
		}
	}
	key, err := c.currentKey(ctx)
	if err != nil {
		return *new(T), c.op.final(err, 1, false)
	}
	isRenewed := false // a 401 has made it ask for a new API key
	unknown := false   // a try may have been carried out
	for try := 1; ; try++ {
		value, err := c.try(ctx, key, secrets)
		if err == nil {
			return value, nil
		}
		again, maybeDone, after := retryable(c.op.success, err)
		unknown = !reads && (unknown || maybeDone || c.repeated)
		wait := max(after, mathrand.N(min(firstWait<<min(try-1, 10), longestWait))) //nolint:gosec // it need not be unpredictable
		if c.source != nil && !isRenewed && try < c.tries && isUnauthenticated(err) {
			newest, sourceErr := c.currentKey(ctx)
			if sourceErr != nil {
				return value, c.op.final(sourceErr, try, unknown)
			}
			isRenewed, again, wait = true, !newest.Equal(key), 0
			key = newest
		}
		if !again || ctx.Err() != nil || try >= c.tries || wait > c.budget-time.Since(start) {
			return value, c.op.final(err, try, unknown)
		}
		c.logger.LogAttrs(ctx, slog.LevelInfo, "repeating a request",
			slog.String("operation", c.op.name), slog.Int("try", try), slog.Duration("wait", wait), slog.String("error", err.Error()))
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return value, fmt.Errorf("%w; %w while waiting for the next try", c.op.final(err, try, unknown), ctx.Err())
		}
	}
}

func isUnauthenticated(err error) bool {
	var response *Error
	return errors.As(err, &response) && response.Status == http.StatusUnauthorized
}

// try sends the request once.
func (c *call[T]) try(ctx context.Context, key registryusers.Secret, secrets []registryusers.Secret) (T, error) {
	if err := ctx.Err(); err != nil {
		return *new(T), err // net/http was not called, so the outcome is known
	}
	if c.tryTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.tryTimeout)
		defer cancel()
	}
	var progress progress
	response, err := c.sender.Do(c.endpoint.request(progress.trace(ctx), c.body, key, c.idempotencyKey)) //nolint:bodyclose // decode does
	c.repeated = c.repeated || progress.wrote.Load() > 1
	if err != nil {
		if progress.isUnsent(c.sender.Transport) {
			err = unsentError{err}
		}
		return *new(T), err
	}
	value, err := c.decode(response, key, secrets)
	if refused := (*Error)(nil); errors.As(err, &refused) && refused.Status == http.StatusUnauthorized && !strings.Contains(key.Reveal(), "$") {
		refused.hint = "the API key contains no $: the shell may have expanded it as a variable; put the key in single quotes"
	}
	return value, err
}

// progress records how far the HTTP client got with a request. Other goroutines
// may call its hooks, even after the request has ended.
type progress struct {
	hooks httptrace.ClientTrace
	begun atomic.Bool
	wrote atomic.Int32 // how often the header was written: net/http repeats a request without a body by itself
}

// trace returns a context with which a request records its progress in p.
func (p *progress) trace(ctx context.Context) context.Context {
	p.hooks.GetConn = func(string) { p.begun.Store(true) }
	p.hooks.WroteHeaders = func() { p.wrote.Add(1) }
	return httptrace.WithClientTrace(ctx, &p.hooks)
}

// isUnsent reports whether certainly no server received the request, because its
// header was not written. A transport that is not net/http's may never call the
// hooks, so for such a transport the answer is no until it has called one.
func (p *progress) isUnsent(transport http.RoundTripper) bool {
	if transport == nil {
		transport = http.DefaultTransport
	}
	_, callsHooks := transport.(*http.Transport)
	return (callsHooks || p.begun.Load()) && p.wrote.Load() == 0
}

// unsentError says why a request was not sent.
type unsentError struct{ error }

func (e unsentError) Unwrap() error { return e.error }

// retryable returns, for a failed try, whether another try may succeed, whether
// this one may have been carried out nevertheless, and how long the server asks the
// client to wait.
func retryable(success int, err error) (again, maybeDone bool, after time.Duration) {
	var response *Error
	if errors.As(err, &response) {
		switch status := response.Status; {
		case status == success: // but the response was not usable
			return true, true, response.RetryAfter
		case status >= 200 && status < 300: // a success that the document does not declare
			return false, true, 0
		case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
			return true, false, response.RetryAfter
		case status == http.StatusServiceUnavailable: // the server has not handled the request; without a class it is a proxy's 503
			return true, response.Class == "", response.RetryAfter
		case status == http.StatusNotImplemented && response.Class != "": // a server's, not a proxy's
			return false, false, 0
		case status >= 500:
			return true, true, response.RetryAfter
		}
		return false, false, 0
	}
	var key keyError
	var sending *url.Error // of the HTTP client
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

// final returns the error of a call, given the error of its last try.
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
