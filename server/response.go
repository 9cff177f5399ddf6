package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"slices"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/server/internal/validation"
)

// response is the response writer of one request. It passes a success through. It
// holds an error, from the implementation or from this package, until finish sends
// it in the document's form.
type response struct {
	http.ResponseWriter
	handler   *handler
	request   *http.Request
	operation *operation // nil until a route matches
	record    *observe.Record
	context   requestContext
	bound     validatedBody

	pathValues [4]string // initial memory of the router

	status int          // 0 until the response has a status
	held   bool         // the response is in body until finish sends it
	body   bytes.Buffer // the held response's body

	problem apierror.Body // of an error response
	cause   error         // of an error response; for the log only
}

// maxHeld limits the body of a held response.
const maxHeld = 16 << 20

func (r *response) WriteHeader(code int) {
	if r.status != 0 {
		return
	}
	if code < 200 || code > 599 || code < 400 && !slices.Contains(r.operation.successes, code) {
		r.cause = fmt.Errorf("the implementation responded with status %d, which the document does not declare", code)
		code = http.StatusInternalServerError
	}
	r.status = code
	r.held = code >= 400 || r.handler.validate
	if !r.held {
		r.send()
	}
}

func (r *response) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if !r.held {
		return r.ResponseWriter.Write(p)
	}
	if r.body.Len()+len(p) > maxHeld {
		return 0, fmt.Errorf("the response is larger than %d bytes, the limit for errors and for validated responses", maxHeld)
	}
	return r.body.Write(p)
}

// fail makes the response an error. If a success is already being sent, it only
// keeps cause, which is for the log.
func (r *response) fail(code int, p apierror.Body, cause error) {
	r.cause = cause
	if r.status != 0 && !r.held {
		return
	}
	r.status, r.held, r.problem = code, true, p
	r.body.Reset()
}

// failError makes the response the one for an error of the implementation. After
// the end of a context the outcome is unknown, unless the error is ErrUnavailable,
// which says that nothing was done.
func (r *response) failError(err error) {
	if isContextEnd(err) && !errors.Is(err, registryusers.ErrUnavailable) {
		r.failAs(registryusers.ErrOutcomeUnknown, err)
		return
	}
	r.failAs(err, err)
}

// failAuthentication makes the response the one for an error of the authenticator.
// Even after the end of a context the outcome is known: nothing was done.
func (r *response) failAuthentication(err error) {
	if isContextEnd(err) {
		r.failAs(registryusers.ErrUnavailable, err)
		return
	}
	r.failAs(err, err)
}

func isContextEnd(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// failAs makes the response the one that apierror has for err.
func (r *response) failAs(err, cause error) {
	code, body := apierror.Of(err)
	r.fail(code, body, cause)
}

// failBody makes the response the one for a body that could not be read or decoded.
func (r *response) failBody(err error) {
	var over *http.MaxBytesError
	var refused *validation.JSONError
	switch {
	case errors.As(err, &over):
		r.fail(http.StatusRequestEntityTooLarge, apierror.Body{Message: tooLarge}, nil)
	case errors.As(err, &refused):
		r.fail(http.StatusBadRequest, apierror.Body{Message: "the body is not acceptable JSON: " + refused.Error()}, nil)
	default:
		r.fail(http.StatusBadRequest, apierror.Body{Message: "the body could not be read to its end"}, err)
	}
}

// failFields makes the response a 400 with the violations.
func (r *response) failFields(violations []validation.Violation) {
	p := apierror.Body{Message: apierror.InvalidRequest}
	for _, v := range violations {
		if v.Field == "" {
			p.Message = "the body " + v.Why
			continue
		}
		if p.InvalidFields == nil {
			p.InvalidFields = make(map[string][]string)
		}
		p.InvalidFields[v.Field] = append(p.InvalidFields[v.Field], v.Why)
	}
	r.fail(http.StatusBadRequest, p, nil)
}

// finish sends a held response and adds to the access log's record. It must be
// deferred: it recovers a panic of the implementation and responds 500.
func (r *response) finish() {
	if value := recover(); value != nil {
		if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			r.log()
			panic(value)
		}
		r.record.SetPanic(value)
		defer r.abortIfSent(r.status != 0 && !r.held)
		r.fail(http.StatusInternalServerError, apierror.Body{}, nil)
	} else if r.status == 0 {
		r.fail(http.StatusInternalServerError, apierror.Body{}, errors.New("the implementation returned no response"))
	}
	if r.held {
		if r.status >= 400 {
			r.formError()
		}
		if r.handler.validate && r.operation != nil {
			if err := r.validate(); err != nil {
				r.fail(http.StatusInternalServerError, apierror.Body{}, err)
				r.formError()
			}
		}
		r.send()
		_, _ = r.ResponseWriter.Write(r.body.Bytes()) // fails if the client has disconnected
	}
	r.log()
	r.abortIfSent(!r.held && r.cause != nil)
}

// abortIfSent closes the connection if sent, so that the client does not take an
// incomplete response for a complete one.
func (r *response) abortIfSent(sent bool) {
	if sent {
		panic(http.ErrAbortHandler)
	}
}

// noStore is shared by all responses; it must not be changed.
var noStore = []string{"no-store"}

func (r *response) send() {
	if header := r.Header(); r.status < 400 { // else apierror.Write has set them
		if header.Get(observe.RequestIDHeader) != r.record.ID { // the implementation has set another
			header.Set(observe.RequestIDHeader, r.record.ID)
		}
		if header["Cache-Control"] == nil { // a response may hold a secret
			header["Cache-Control"] = noStore
		}
	}
	r.ResponseWriter.WriteHeader(r.status)
}

// formError writes the body and the headers of an error response. Every error
// response passes through it, including those that the implementation wrote as one
// of the generated types.
func (r *response) formError() {
	if r.body.Len() > 0 && r.cause == nil { // with a cause the body is that of a status that is not valid
		r.readError()
	}
	r.body.Reset()
	r.problem.RequestID = r.record.ID
	r.problem = apierror.Write(r, r.status, r.problem) // into r.body, as the response is held
}

// readError sets the problem from the error that the implementation wrote as one of
// the generated types.
func (r *response) readError() {
	if mediaType, _, _ := mime.ParseMediaType(r.Header().Get("Content-Type")); mediaType == "application/json" {
		var body apierror.Body
		if json.Unmarshal(r.body.Bytes(), &body) == nil {
			r.problem = body
		}
	}
	if r.status >= 500 && r.problem.Message != "" {
		r.cause = errors.New(r.problem.Message)
	}
}

// log adds to the request's record in the access log.
func (r *response) log() {
	if r.operation != nil {
		r.record.Add(slog.String("operation", r.operation.id))
	}
	if r.status >= 400 {
		r.record.Add(slog.String("class", r.problem.ExceptionClass), slog.String("message", r.problem.Message))
	}
	if len(r.problem.InvalidFields) > 0 {
		r.record.Add(slog.Any("invalid_fields", r.problem.InvalidFields))
	}
	if r.cause != nil {
		r.record.SetCause(r.cause)
	}
}
