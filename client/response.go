package client

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/apierror"
)

// maxResponseBytes is the most that the client reads of a response's body. A
// success with a longer body is an [*Error].
const maxResponseBytes = 1 << 20

// Error describes a response that is not the success that the document declares:
// the last response, if there were several tries. [errors.Is] finds package
// registryusers' error for it; [ErrOutcomeUnknown], if this try or an earlier one
// may have been carried out nevertheless; and the error that interrupted the
// reading of its body, if there was one (for example [context.DeadlineExceeded]).
type Error struct {
	Status        int                 // of the response, whatever its body was
	Class         string              // exception_class, "" if the body has none
	Message       string              // for a person to read
	RequestID     string              // names the request to the server's operator; or ""
	InvalidFields map[string][]string // what is wrong with each field, or nil
	RetryAfter    time.Duration       // how long the server asks the client to wait, or 0

	operation string
	kind      error  // package registryusers' error, or nil
	cause     error  // why the body could not be read to its end, or nil
	hint      string // what the caller can do, or ""
	success   int    // the status that the document declares for a success
	tries     int
	unknown   bool // a try may have been carried out
}

// Error returns the error in one line.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s (%d)", e.operation, e.Message, e.Status)
	fields := make([]string, 0, len(e.InvalidFields))
	for field, whys := range e.InvalidFields {
		fields = append(fields, "; "+field+" "+strings.Join(whys, ", "))
	}
	slices.Sort(fields)
	b.WriteString(strings.Join(fields, ""))
	if e.tries > 1 {
		fmt.Fprintf(&b, ", after %d tries", e.tries)
	}
	switch {
	case errors.Is(e.kind, registryusers.ErrUserChanged): // the outcome is known
	case e.unknown && errors.Is(e.kind, registryusers.ErrExists):
		b.WriteString("; an earlier try had no response, so this call may have created what exists, and its secret is lost: delete it and repeat the call, or choose another name")
	case e.unknown && e.Status != e.success: // with the success's status the outcome is known
		b.WriteString("; outcome unknown, it may have been done or not")
	}
	if e.hint != "" {
		b.WriteString("; " + e.hint)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " [request %s]", e.RequestID)
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) { // the server's text must not add lines to a log or control a terminal
			return ' '
		}
		return r
	}, b.String())
}

// Unwrap returns those that apply: package registryusers' error for the response,
// [ErrOutcomeUnknown], and the error that interrupted the reading of the body.
func (e *Error) Unwrap() []error {
	var all []error
	if e.kind != nil {
		all = append(all, e.kind)
	}
	if e.unknown {
		all = append(all, ErrOutcomeUnknown)
	}
	if e.cause != nil {
		all = append(all, e.cause)
	}
	return all
}

// operation describes an operation whose successful response is a T.
type operation[T any] struct {
	name     string
	success  int           // the status of a success
	complete func(T) bool  // reports whether the response has the fields that the client needs; nil: a success has no content
	errors   map[int]error // by status: the specific error of this operation
}

// decode returns the T in a response's body, or an [*Error] for the response,
// without the secrets that were sent. It closes the body.
func (c *call[T]) decode(response *http.Response, key registryusers.Secret, secrets []registryusers.Secret) (T, error) {
	defer response.Body.Close()
	op := c.op
	var value T
	if response.StatusCode == op.success && op.complete == nil {
		return value, nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponseBytes+1))
	message := "" // what is wrong with a success
	if response.StatusCode == op.success {
		switch {
		case err != nil:
			message = "the response is incomplete"
		case len(body) > maxResponseBytes:
			message = fmt.Sprintf("the response is larger than %d bytes", maxResponseBytes)
		case json.Unmarshal(body, &value) != nil:
			message = "the response is not the JSON that the document declares"
		case !op.complete(value):
			message = "the response lacks required fields"
		default:
			return value, nil
		}
		if !c.endpoint.reads() {
			message = "it was done, but " + message
		}
	}
	fault := &Error{
		Status:     response.StatusCode,
		Message:    message,
		RequestID:  response.Header.Get("X-Request-Id"),
		RetryAfter: retryAfter(response.Header.Get("Retry-After")),
		operation:  op.name,
		cause:      err,
		success:    op.success,
	}
	if message == "" && err == nil && len(body) <= maxResponseBytes {
		fault.read(body)
	}
	if message == "" && response.StatusCode < 400 {
		fault.Message, fault.kind = unexpected(response, op.success), nil
	}
	fault.redact(append(slices.Clone(secrets), key))
	if fault.Message == "" { // the body is a proxy's page, incomplete or empty, or its message has a secret
		fault.Message = strings.ToLower(http.StatusText(response.StatusCode))
	}
	if fault.kind == nil && response.StatusCode >= 400 {
		fault.kind = cmp.Or(op.errors[response.StatusCode], apierror.Err(response.StatusCode, ""))
	}
	return *new(T), fault
}

// read sets the fields of e from an error's body, if the body has the document's form.
func (e *Error) read(body []byte) {
	var model apierror.Body
	if json.Unmarshal(body, &model) != nil {
		return
	}
	e.Class, e.Message, e.InvalidFields = model.ExceptionClass, model.Message, model.InvalidFields
	if model.RequestID != "" {
		e.RequestID = model.RequestID
	}
	if model.ErrorCode != "" { // of an unknown code, the status gives the general error
		e.kind = apierror.Err(e.Status, model.ErrorCode)
	}
}

// unexpected says what is wrong with a response that is neither an error nor the
// success that the document declares.
func unexpected(response *http.Response, success int) string {
	what := fmt.Sprintf("the server responded %q, not %q", http.StatusText(response.StatusCode), http.StatusText(success))
	if to, err := response.Location(); err == nil && response.StatusCode >= 300 {
		what = fmt.Sprintf("the server redirects to %s://%s, and the client follows no redirects", to.Scheme, to.Host)
	}
	return what + ": check that the base URL is the API's"
}

// maxRetryAfter is the limit, exclusive, of the Retry-After that the client
// honors: RFC 9111, section 1.2.2, lets 2^31 s stand for infinity.
const maxRetryAfter = (1 << 31) * time.Second

// retryAfter returns the wait that a Retry-After header gives in seconds or as a
// date (RFC 9110, section 10.2.3). It returns 0 for no header, an invalid value, a
// date in the past, and a wait of 2^31 s or more.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		if seconds < 0 || seconds >= int64(maxRetryAfter/time.Second) {
			return 0
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if wait := time.Until(date); wait > 0 && wait < maxRetryAfter {
		return wait
	}
	return 0
}

// redact removes every text of the server's that contains one of secrets. It
// removes the complete text: if the secret is also a word that the server uses
// ("exists"), the text around a gap would show the secret.
func (e *Error) redact(secrets []registryusers.Secret) {
	hasSecret := func(text string) bool {
		return slices.ContainsFunc(secrets, func(s registryusers.Secret) bool {
			return s.Reveal() != "" && strings.Contains(text, s.Reveal())
		})
	}
	clean := func(text string) string {
		if hasSecret(text) {
			return registryusers.Secret{}.String()
		}
		return text
	}
	if hasSecret(e.Message) {
		e.Message = ""
	}
	e.Class, e.RequestID = clean(e.Class), clean(e.RequestID)
	if e.InvalidFields == nil {
		return
	}
	fields := make(map[string][]string, len(e.InvalidFields))
	for field, whys := range e.InvalidFields {
		for _, why := range whys {
			fields[clean(field)] = append(fields[clean(field)], clean(why))
		}
	}
	e.InvalidFields = fields
}
