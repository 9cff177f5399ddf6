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

// MaxResponseBytes is the most that is read of an answer's body.
const MaxResponseBytes = 1 << 20

// Error is an answer that is not the success that the document declares, the
// last one if there were several tries. [errors.Is] finds package
// registryusers' error for it, [ErrOutcomeUnknown] if an earlier try, or this
// one, may have been carried out all the same, and the error that ended the
// reading of its body, if there was one ([context.DeadlineExceeded], say).
type Error struct {
	Status        int                 // of the answer, whatever its body was
	Class         string              // exception_class, "" if the body has none
	Message       string              // for a person to read
	RequestID     string              // what to ask the server's operator about, or ""
	InvalidFields map[string][]string // what is wrong with each field, or nil
	RetryAfter    time.Duration       // how long the server asks to wait, or 0

	operation string
	kind      error
	cause     error  // of a body that could not be read to its end
	hint      string // what the caller can do about it, or ""
	success   int    // the status that the operation should have
	tries     int
	unknown   bool
}

// Error returns the answer in one line.
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
	case errors.Is(e.kind, registryusers.ErrUserChanged): // it was done, and undone
	case e.unknown && errors.Is(e.kind, registryusers.ErrExists):
		b.WriteString("; an earlier try had no answer, so what exists may be this call's, and its secret cannot be had: remove it and repeat the call, or choose another name")
	case e.unknown && e.Status != e.success: // else it was done
		b.WriteString("; outcome unknown, it may have been done or not")
	}
	if e.hint != "" {
		b.WriteString("; " + e.hint)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " [request %s]", e.RequestID)
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) { // a server's words stay in their line, and off the terminal's controls
			return ' '
		}
		return r
	}, b.String())
}

// Unwrap returns package registryusers' error for the answer, if there is one,
// [ErrOutcomeUnknown], if that is so, and why its body could not be read.
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

// operation is what decode must know of a call that answers with a T.
type operation[T any] struct {
	name     string
	success  int
	complete func(T) bool  // whether the answer has what it must
	errors   map[int]error // what each declared status means here, beyond its general error
}

// decode reads an answer's body as a T, or makes an [*Error] of it, without
// the secrets that were sent. It closes the body.
func decode[T any](response *http.Response, op *operation[T], secrets ...registryusers.Secret) (T, error) {
	defer response.Body.Close()
	var value T
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxResponseBytes+1))
	message := "" // why a success is none
	if response.StatusCode == op.success {
		switch {
		case err != nil:
			message = "it was done, but the answer broke off"
		case len(body) > MaxResponseBytes:
			message = fmt.Sprintf("it was done, but the answer is larger than %d bytes", MaxResponseBytes)
		case json.Unmarshal(body, &value) != nil:
			message = "it was done, but the answer is not the JSON that the document declares"
		case !op.complete(value):
			message = "it was done, but the answer lacks what was made"
		default:
			return value, nil
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
	if message == "" && err == nil && len(body) <= MaxResponseBytes {
		fault.read(body)
	}
	if message == "" && response.StatusCode < 400 {
		fault.Message, fault.kind = unexpected(response, op.success), nil
	}
	fault.redact(secrets)
	if fault.Message == "" { // a proxy's page, half a JSON, nothing, or words with a secret
		fault.Message = strings.ToLower(http.StatusText(response.StatusCode))
	}
	if fault.kind == nil && response.StatusCode >= 400 {
		fault.kind = cmp.Or(op.errors[response.StatusCode], apierror.Err(response.StatusCode, ""))
	}
	return *new(T), fault
}

// read takes over what an error's body says, if it has the document's form.
func (e *Error) read(body []byte) {
	var model apierror.Body
	if json.Unmarshal(body, &model) != nil {
		return
	}
	e.Class, e.Message, e.InvalidFields = model.ExceptionClass, model.Message, model.InvalidFields
	if model.RequestID != "" {
		e.RequestID = model.RequestID
	}
	if model.ErrorCode != "" { // what another code means is not known here, beyond the status
		e.kind = apierror.Err(e.Status, model.ErrorCode)
	}
}

// unexpected says what is wrong with an answer that is neither an error nor
// the success that the document declares.
func unexpected(response *http.Response, success int) string {
	what := fmt.Sprintf("the server answered %q and not %q", http.StatusText(response.StatusCode), http.StatusText(success))
	if to, err := response.Location(); err == nil && response.StatusCode >= 300 {
		what = fmt.Sprintf("the server redirects to %s://%s, which is not followed", to.Scheme, to.Host)
	}
	return what + ": is the base URL the API's?"
}

// maxRetryAfter is the longest Retry-After that counts, exclusive: beyond it a
// server means nothing (RFC 9111, section 1.2.2, has 2^31 s stand for infinity).
const maxRetryAfter = (1 << 31) * time.Second

// retryAfter returns the wait of the header Retry-After, in seconds or as a date
// (RFC 9110, section 10.2.3), or 0: for none, one that is past, nonsense, and
// 2^31 s or more.
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

// redact takes out a server's words that have a secret in them that was sent.
// The whole text goes: what is left around a secret that happens to be part of
// the server's own words ("exists") would show it.
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
