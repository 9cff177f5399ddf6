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
	validates      bool // responses against the document
	refusesUnknown bool
	record         *observe.Record
	request        *http.Request // as the generated code gets it
	operation      *operation    // nil until a route matches
	context        requestContext
	unknown        []string // fields of the body, which the document does not name

	status int   // 0 until the response has a status
	held   *held // the response until finish sends it; nil: it is being sent
	cause  error // of an error response; for the log only
}

// held is a response that is not sent yet.
type held struct {
	body    bytes.Buffer  // as the implementation wrote it
	problem apierror.Body // of an error
	public  bool          // the problem's message is meant for the caller, whatever the status
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
	if code >= 400 || r.validates {
		r.held = &held{}
		return
	}
	r.send()
}

func (r *response) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK) // unless the response has a status
	switch {
	case r.held == nil:
		return r.ResponseWriter.Write(p)
	case r.held.body.Len()+len(p) > maxHeld:
		return 0, fmt.Errorf("the response is larger than %d bytes, the limit for errors and for validated responses", maxHeld)
	}
	return r.held.body.Write(p)
}

// fail makes the response an error. If a success is already being sent, it only
// keeps cause, which is for the log.
func (r *response) fail(code int, p apierror.Body, cause error) {
	r.cause = cause
	if r.status == 0 || r.held != nil {
		r.status, r.held = code, &held{problem: p}
	}
}

// failError makes the response the one for an error of the implementation or the
// authenticator. If the error is the end of a context, the response is the one for ended,
// unless the error is ErrUnavailable, which says that nothing was done.
func (r *response) failError(err, ended error) {
	code, body := apierror.Of(err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		if errors.Is(err, registryusers.ErrUnavailable) {
			ended = registryusers.ErrUnavailable
		}
		code, body = apierror.Of(ended)
		r.fail(code, body, err)
		return
	}
	r.fail(code, body, err)
	r.addOwn(err)
}

// failBody makes the response the one for a body that could not be read or decoded.
func (r *response) failBody(err error) {
	var over *http.MaxBytesError
	var refused *validation.JSONError
	switch {
	case errors.As(err, &over):
		r.fail(http.StatusRequestEntityTooLarge, apierror.Body{Message: fmt.Sprintf("the body must have at most %d bytes", MaxBodyBytes)}, nil)
	case errors.As(err, &refused):
		r.fail(http.StatusBadRequest, apierror.Body{Message: "the body is not acceptable JSON: " + refused.Error()}, nil)
	default:
		r.fail(http.StatusBadRequest, apierror.Body{Message: "the body could not be read to its end"}, err)
	}
}

// failFields makes the response a 400 with the violations.
func (r *response) failFields(violations []validation.Violation) {
	p := apierror.Body{Message: apierror.InvalidRequest, InvalidFields: make(map[string][]string, len(violations))}
	for _, v := range violations {
		if v.Field == "" {
			p.Message = "the body " + v.Why
			continue
		}
		p.InvalidFields[v.Field] = append(p.InvalidFields[v.Field], v.Why)
	}
	r.fail(http.StatusBadRequest, p, nil)
}

// finish sends a held response and adds to the access log's record. It must be
// deferred: it recovers a panic of the implementation and responds 500.
func (r *response) finish() {
	value := recover()
	sent := r.status != 0 && r.held == nil
	switch err, _ := value.(error); {
	case errors.Is(err, http.ErrAbortHandler):
		r.log()
		panic(value)
	case value != nil:
		r.record.SetPanic(value)
		r.fail(http.StatusInternalServerError, apierror.Body{}, nil)
	case r.status == 0:
		r.fail(http.StatusInternalServerError, apierror.Body{}, errors.New("the implementation returned no response"))
	}
	if r.held != nil {
		r.sendHeld()
	}
	r.log()
	if sent && (value != nil || r.cause != nil) { // the client must not take it for a complete response
		panic(http.ErrAbortHandler)
	}
}

func (r *response) sendHeld() {
	if r.status >= 400 && r.held.body.Len() > 0 && r.cause == nil { // with a cause the body is that of a status that is not valid
		r.readError()
	}
	if r.validates && r.operation != nil {
		if r.status >= 400 {
			r.formError(r)
		}
		if err := r.validate(); err != nil {
			r.fail(http.StatusInternalServerError, apierror.Body{}, err)
		}
	}
	if r.status >= 400 {
		r.formError(r.ResponseWriter)
		return
	}
	r.send()
	_, _ = r.ResponseWriter.Write(r.held.body.Bytes()) // fails if the client has disconnected
}

// formError writes an error response to w. Every error response passes through it,
// including those that the implementation wrote as one of the generated types.
func (r *response) formError(w http.ResponseWriter) {
	r.held.body.Reset()
	r.held.problem.RequestID = r.record.ID
	write := apierror.Write
	if r.held.public {
		write = apierror.WritePublic
	}
	r.held.problem = write(w, r.status, r.held.problem)
}

// readError sets the problem from the error that the implementation wrote as one of
// the generated types.
func (r *response) readError() {
	if mediaType, _, _ := mime.ParseMediaType(r.Header().Get("Content-Type")); mediaType == "application/json" {
		var body apierror.Body
		if json.Unmarshal(r.held.body.Bytes(), &body) == nil {
			r.held.problem = body
		}
	}
	if r.status >= 500 && r.held.problem.Message != "" {
		r.cause = errors.New(r.held.problem.Message)
	}
}

// noStore is shared by all responses; it must not be changed.
var noStore = []string{"no-store"}

// send sends the header of a success.
func (r *response) send() {
	header := r.Header()
	if ids := header[observe.RequestIDHeader]; len(ids) != 1 || ids[0] != r.record.ID { // the implementation has set another
		header[observe.RequestIDHeader] = []string{r.record.ID}
	}
	if header["Cache-Control"] == nil { // a response may hold a secret
		header["Cache-Control"] = noStore
	}
	r.ResponseWriter.WriteHeader(r.status)
}

// log adds to the request's record in the access log.
func (r *response) log() {
	if r.operation != nil {
		r.record.Add(slog.String("operation", r.operation.id))
	}
	if r.status >= 400 {
		p := r.held.problem
		r.record.Add(slog.String("exception_class", p.ExceptionClass), slog.String("message", p.Message))
		if len(p.InvalidFields) > 0 {
			r.record.Add(slog.Any("invalid_fields", p.InvalidFields))
		}
	}
	if r.cause != nil && (r.held == nil || r.cause.Error() != r.held.problem.Message) {
		r.record.SetCause(r.cause)
	}
}
