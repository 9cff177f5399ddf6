package client

import (
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
	"github.com/registryusers/registryusers/gen/models"
	"github.com/registryusers/registryusers/internal/status"
)

// MaxAnswerBytes is the most that is read of an answer's body.
const MaxAnswerBytes = 1 << 20

// Error is an answer that is not the success that the document declares, the
// last one if there were several tries. [errors.Is] finds package
// registryusers' error for its status, and [ErrOutcomeUnknown] if an earlier
// try, or this one, may have been carried out all the same.
type Error struct {
	Status        int                 // of the answer, whatever its body was
	Class         string              // exception_class, "" if the body has none
	Message       string              // for a person to read
	RequestID     string              // what to ask the server's operator about, or ""
	InvalidFields map[string][]string // what is wrong with each field, or nil
	RetryAfter    time.Duration       // how long the server asks to wait, or 0

	operation string
	kind      error
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
	case e.unknown && errors.Is(e.kind, registryusers.ErrExists):
		b.WriteString("; an earlier try had no answer, so what exists may be this call's, and its secret cannot be had: remove it and repeat the call, or choose another name")
	case e.unknown && e.Status >= 400: // else it was done
		b.WriteString("; outcome unknown, it may have been done or not")
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
// and [ErrOutcomeUnknown], if that is so.
func (e *Error) Unwrap() []error {
	var all []error
	if e.kind != nil {
		all = append(all, e.kind)
	}
	if e.unknown {
		all = append(all, ErrOutcomeUnknown)
	}
	return all
}

// operation is what decode must know of a call that answers with a T.
type operation[T any] struct {
	name    string
	success int
	whole   func(T) bool  // whether the answer has what it must
	errors  map[int]error // what each declared status means here, beyond its general error
}

// decode reads an answer's body as a T, or makes an [*Error] of it, without
// the secrets that were sent. It closes the body.
func decode[T any](answer *http.Response, op *operation[T], secrets ...registryusers.Secret) (T, error) {
	defer answer.Body.Close()
	var value T
	body, err := io.ReadAll(io.LimitReader(answer.Body, MaxAnswerBytes+1))
	message := "" // why a success is none
	if answer.StatusCode == op.success {
		switch {
		case err != nil:
			message = "it was done, but the answer broke off"
		case len(body) > MaxAnswerBytes:
			message = fmt.Sprintf("it was done, but the answer is larger than %d bytes", MaxAnswerBytes)
		case json.Unmarshal(body, &value) != nil:
			message = "it was done, but the answer is not the JSON that the document declares"
		case !op.whole(value):
			message = "it was done, but the answer lacks what was made"
		default:
			return value, nil
		}
	}
	fault := &Error{
		Status:     answer.StatusCode,
		Message:    message,
		RequestID:  answer.Header.Get("X-Request-Id"),
		RetryAfter: retryAfter(answer.Header.Get("Retry-After")),
		operation:  op.name,
	}
	if message != "" {
		fault.redact(secrets)
		return *new(T), fault
	}

	var model models.Error
	if err == nil && len(body) <= MaxAnswerBytes && json.Unmarshal(body, &model) == nil {
		fault.Class, fault.Message, fault.InvalidFields = model.ExceptionClass, model.Message, model.InvalidFields
		if model.RequestID != "" {
			fault.RequestID = model.RequestID
		}
	}
	if fault.Message == "" { // a proxy's page, half a JSON, nothing
		fault.Message = strings.ToLower(http.StatusText(answer.StatusCode))
	}
	fault.redact(secrets)
	if fault.kind = op.errors[answer.StatusCode]; fault.kind == nil {
		fault.kind = status.Err(answer.StatusCode)
	}
	return value, fault
}

// retryAfter reads the header Retry-After: seconds, or a date (RFC 9110, section 10.2.3).
func retryAfter(value string) time.Duration {
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(date))
	}
	return 0
}

// redact takes out of a server's words the secrets that it was sent.
func (e *Error) redact(secrets []registryusers.Secret) {
	var pairs []string
	for _, secret := range secrets {
		if text := secret.Reveal(); text != "" {
			pairs = append(pairs, text, secret.String())
		}
	}
	clean := strings.NewReplacer(pairs...).Replace
	e.Class, e.Message, e.RequestID = clean(e.Class), clean(e.Message), clean(e.RequestID)
	if e.InvalidFields == nil {
		return
	}
	fields := make(map[string][]string, len(e.InvalidFields))
	for field, whys := range e.InvalidFields {
		for i := range whys {
			whys[i] = clean(whys[i])
		}
		fields[clean(field)] = whys
	}
	e.InvalidFields = fields
}
