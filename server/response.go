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

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/apierror"
	"github.com/registryusers/registryusers/internal/ijson"
	"github.com/registryusers/registryusers/internal/observe"
	"github.com/registryusers/registryusers/internal/schema"
)

// answer is the response writer of one request. Success passes through it;
// an error answer is held back, whoever wrote it, and leaves in the document's
// form when the request is finished.
type response struct {
	http.ResponseWriter
	handler   *handler
	request   *http.Request
	operation *operation // nil until a route matched
	record    *observe.Record

	status int          // 0 until an answer is begun
	held   bool         // the answer waits in body for finish
	body   bytes.Buffer // what was written while held

	problem apierror.Body // of an error response
	cause   error         // of the error, for the log alone
}

// maxHeld bounds what is kept of an answer that is held back.
const maxHeld = 16 << 20

func (a *response) WriteHeader(code int) {
	if a.status != 0 {
		return
	}
	if code < 200 || code > 599 || code < 400 && !a.operation.declared[code] {
		a.cause = fmt.Errorf("the implementation answered with status %d", code)
		code = http.StatusInternalServerError
	}
	a.status = code
	a.held = code >= 400 || a.handler.validate
	if !a.held {
		a.send()
	}
}

func (a *response) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if !a.held {
		return a.ResponseWriter.Write(p)
	}
	if a.body.Len()+len(p) > maxHeld {
		return 0, errors.New("the answer is too large to be held")
	}
	return a.body.Write(p)
}

// fail makes the answer an error. It does nothing once a success has begun to leave.
// cause is for the log alone.
func (a *response) fail(code int, p apierror.Body, cause error) {
	a.cause = cause
	if a.status != 0 && !a.held {
		return
	}
	a.status, a.held, a.problem = code, true, p
	a.body.Reset()
}

// failError makes the answer the one that the table has for an error of the
// implementation. A context that ended leaves open what was done, unless the
// error says that nothing was.
func (a *response) failError(err error) {
	if isContextEnd(err) && !errors.Is(err, registryusers.ErrUnavailable) {
		a.failAs(registryusers.ErrOutcomeUnknown, err)
		return
	}
	a.failAs(err, err)
}

// failAuthentication makes the answer the one for an error of the
// authenticator, after which nothing was done.
func (a *response) failAuthentication(err error) {
	if isContextEnd(err) {
		a.failAs(registryusers.ErrUnavailable, err)
		return
	}
	a.failAs(err, err)
}

func isContextEnd(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// failAs makes the answer the one that the table has for err, with its cause for the log.
func (a *response) failAs(err, cause error) {
	code, body := apierror.Of(err)
	a.fail(code, body, cause)
}

// failBody makes the answer the one to a body that could not be read or decoded.
func (a *response) failBody(err error) {
	var over *http.MaxBytesError
	var refused *ijson.Error
	switch {
	case errors.As(err, &over):
		a.fail(http.StatusRequestEntityTooLarge, apierror.Body{Message: tooLarge}, nil)
	case errors.As(err, &refused):
		a.fail(http.StatusBadRequest, apierror.Body{Message: "the body is not JSON that can be accepted: " + refused.Error()}, nil)
	default:
		a.fail(http.StatusBadRequest, apierror.Body{Message: "the body could not be read to its end"}, err)
	}
}

// failFields makes the answer a 400 that names what is wrong.
func (a *response) failFields(violations []schema.Violation) {
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
	a.fail(http.StatusBadRequest, p, nil)
}

// finish sends what was held back and adds to the log line.
func (a *response) finish() {
	if value := recover(); value != nil {
		if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			a.log()
			panic(value)
		}
		a.record.Panicked(value)
		defer a.abortIfSent(a.status != 0 && !a.held)
		a.fail(http.StatusInternalServerError, apierror.Body{}, nil)
	} else if a.status == 0 {
		a.fail(http.StatusInternalServerError, apierror.Body{}, errors.New("the implementation gave no answer"))
	}
	if a.held {
		if a.status >= 400 {
			a.formError()
		}
		if a.handler.validate && a.operation != nil {
			if err := a.validate(); err != nil {
				a.fail(http.StatusInternalServerError, apierror.Body{}, err)
				a.formError()
			}
		}
		a.send()
		_, _ = a.ResponseWriter.Write(a.body.Bytes()) // the client may have gone
	}
	a.log()
	a.abortIfSent(!a.held && a.cause != nil)
}

// abortIfSent breaks the connection off, so that half an answer is not taken for one.
func (a *response) abortIfSent(sent bool) {
	if sent {
		panic(http.ErrAbortHandler)
	}
}

// noStore is shared by all responses: nobody writes to it.
var noStore = []string{"no-store"}

func (a *response) send() {
	if header := a.Header(); a.status < 400 { // else apierror.Write has set them
		if header.Get(observe.RequestIDHeader) != a.record.ID { // the implementation has set another
			header.Set(observe.RequestIDHeader, a.record.ID)
		}
		if header["Cache-Control"] == nil { // a response may hold a secret
			header["Cache-Control"] = noStore
		}
	}
	a.ResponseWriter.WriteHeader(a.status)
}

// formError writes the body and the headers of an error response. All of them
// come through here, those too that the implementation wrote as one of the
// generated types.
func (a *response) formError() {
	if a.body.Len() > 0 && a.cause == nil { // with a cause, the status was not valid, and neither is the text
		a.readError()
	}
	a.body.Reset()
	a.problem.RequestID = a.record.ID
	a.problem = apierror.Write(a, a.status, a.problem) // into a.body, as the response is held
}

// readError reads the error that the implementation wrote as one of the generated types.
func (a *response) readError() {
	if mediaType, _, _ := mime.ParseMediaType(a.Header().Get("Content-Type")); mediaType == "application/json" {
		var body apierror.Body
		if json.Unmarshal(a.body.Bytes(), &body) == nil {
			a.problem = body
		}
	}
	if a.status >= 500 && a.problem.Message != "" {
		a.cause = errors.New(a.problem.Message)
	}
}

// log adds to the request's line in the access log.
func (a *response) log() {
	if a.operation != nil {
		a.record.Add(slog.String("operation", a.operation.id))
	}
	if a.status >= 400 {
		a.record.Add(slog.String("class", a.problem.ExceptionClass), slog.String("message", a.problem.Message))
	}
	if len(a.problem.InvalidFields) > 0 {
		a.record.Add(slog.Any("invalid_fields", a.problem.InvalidFields))
	}
	if a.cause != nil {
		a.record.Fail(a.cause)
	}
}
