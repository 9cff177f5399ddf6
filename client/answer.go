package client

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/models"
	"github.com/registryusers/registryusers/internal/status"
)

// MaxAnswerBytes is the most that is read of an answer's body.
const MaxAnswerBytes = 1 << 20

// Error is an answer that is not the success that the document declares.
// [errors.Is] finds package registryusers' error for its status.
type Error struct {
	Status        int                 // of the answer, whatever its body was
	Class         string              // exception_class, "" if the body has none
	Message       string              // for a person to read
	RequestID     string              // what to ask the server's operator about, or ""
	InvalidFields map[string][]string // what is wrong with each field, or nil

	operation string
	kind      error
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

// Unwrap returns package registryusers' error for the answer, or nil.
func (e *Error) Unwrap() error { return e.kind }

// operation is what decode must know of a call that answers with a T.
type operation[T any] struct {
	name    string
	success int
	whole   func(T) bool  // whether the answer has what it must
	errors  map[int]error // what each declared status means here, beyond its general error
}

// decode reads an answer's body as a T, or makes an [*Error] of it, without
// the secrets that were sent. It closes the body.
func decode[T any](answer *http.Response, op operation[T], secrets ...registryusers.Secret) (T, error) {
	defer answer.Body.Close()
	var value T
	body, err := io.ReadAll(io.LimitReader(answer.Body, MaxAnswerBytes+1))
	fault := &Error{
		Status:    answer.StatusCode,
		RequestID: answer.Header.Get("X-Request-Id"),
		operation: op.name,
	}
	if answer.StatusCode == op.success {
		switch {
		case err != nil:
			fault.Message = "it was done, but the answer broke off"
		case len(body) > MaxAnswerBytes:
			fault.Message = fmt.Sprintf("it was done, but the answer is larger than %d bytes", MaxAnswerBytes)
		case json.Unmarshal(body, &value) != nil:
			fault.Message = "it was done, but the answer is not the JSON that the document declares"
		case !op.whole(value):
			fault.Message = "it was done, but the answer lacks what was made"
		default:
			return value, nil
		}
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
