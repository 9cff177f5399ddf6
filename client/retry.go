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
	"net/url"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiclient"
)

// ErrOutcomeUnknown says that the request may have been carried out or not, and no
// answer told which. A repeat with the same Idempotency-Key tells, of a server
// that knows that header; see [WithIdempotencyKey].
var ErrOutcomeUnknown = errors.New("outcome unknown")

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
func do[T any](ctx context.Context, c *config, op *operation[T], send func(apiclient.RequestEditorFn) (*http.Response, error), secret registryusers.Secret) (T, error) {
	start := time.Now()
	idempotencyKey := c.idempotencyKey
	if idempotencyKey == "" {
		idempotencyKey = rand.Text()
	}
	unknown := false // whether a try may have been carried out
	for try := 1; ; try++ {
		value, err := attempt(ctx, c, op, send, idempotencyKey, secret)
		if err == nil {
			return value, nil
		}
		again, maybeDone, after := judge(op.success, err)
		unknown = unknown || maybeDone
		wait := max(after, mathrand.N(min(firstWait<<min(try-1, 10), longestWait))) //nolint:gosec // nobody gains by guessing it
		if !again || ctx.Err() != nil || try >= c.tries || time.Since(start)+wait > c.budget {
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

var acceptJSON = []string{"application/json"}

// attempt sends a request once.
func attempt[T any](ctx context.Context, c *config, op *operation[T], send func(apiclient.RequestEditorFn) (*http.Response, error), idempotencyKey string, secret registryusers.Secret) (T, error) {
	if err := ctx.Err(); err != nil { // nothing was sent
		return *new(T), err
	}
	key, err := c.currentKey(ctx)
	if err != nil {
		return *new(T), err
	}
	answer, err := send(func(_ context.Context, r *http.Request) error { //nolint:bodyclose // decode does
		r.Header["Authorization"] = []string{"apikey " + key.Reveal()}
		r.Header["Idempotency-Key"] = []string{idempotencyKey}
		r.Header["Accept"], r.Header["User-Agent"] = acceptJSON, c.userAgent
		r.GetBody = nil // net/http would repeat the request unseen, as it has an Idempotency-Key
		return nil
	})
	if err != nil {
		return *new(T), err
	}
	return decode(answer, op, key, secret)
}

// judge says of a try that failed whether another may succeed, whether it may
// have been carried out all the same, and how long the server asks to wait.
func judge(success int, err error) (again, maybeDone bool, after time.Duration) {
	var answer *Error
	if errors.As(err, &answer) {
		switch status := answer.Status; {
		case status == success: // but the answer was broken
			return true, true, answer.RetryAfter
		case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
			return true, false, answer.RetryAfter
		case status == http.StatusServiceUnavailable: // a proxy's does not say what became of the request
			return true, answer.Class == "", answer.RetryAfter
		case status >= 500:
			return true, true, answer.RetryAfter
		}
		return false, false, 0
	}
	var key keyError
	var sending *url.Error // what the HTTP client says
	var dialing *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &key), !errors.As(err, &sending), errors.As(err, &certificate):
		return false, false, 0
	case errors.As(err, &dialing) && dialing.Op == "dial":
		return true, false, 0
	}
	return true, true, 0
}

// final makes the error of a call of the one of its last try.
func (op *operation[T]) final(err error, tries int, unknown bool) error {
	var answer *Error
	if errors.As(err, &answer) {
		answer.tries, answer.unknown = tries, unknown
		return answer
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
