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
	"runtime"
	"runtime/debug"
	"time"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/models"
	"github.com/registryusers/registryusers/internal/ijson"
	"github.com/registryusers/registryusers/internal/schema"
	"github.com/registryusers/registryusers/internal/status"
)

// answer is the response writer of one request. Success passes through it;
// an error answer is held back, whoever wrote it, and leaves in the document's
// form when the request is finished.
type response struct {
	http.ResponseWriter
	handler   *handler
	request   *http.Request
	operation *operation // nil until a route matched
	id        string
	start     time.Time

	status int          // 0 until an answer is begun
	held   bool         // the answer waits in body for finish
	body   bytes.Buffer // what was written while held
	size   int          // bytes sent

	problem problem // of an error answer
}

// problem is what an error answer tells, and the log besides.
type problem struct {
	class   string              // "": the status's
	message string              // "": the status's
	code    string              // error_code; "": none
	fields  map[string][]string // what is wrong with each field
	cause   error               // for the log alone
}

// maxHeld bounds what is kept of an answer that is held back.
const maxHeld = 16 << 20

func (a *response) WriteHeader(code int) {
	if a.status != 0 {
		return
	}
	if code < 200 || code > 599 || code < 400 && !a.operation.declared[code] {
		a.problem.cause = fmt.Errorf("the implementation answered with status %d", code)
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
		n, err := a.ResponseWriter.Write(p)
		a.size += n
		return n, err
	}
	if a.body.Len()+len(p) > maxHeld {
		return 0, errors.New("the answer is too large to be held")
	}
	return a.body.Write(p)
}

// fail makes the answer an error. It does nothing once a success has begun to leave.
func (a *response) fail(code int, p problem) {
	if a.status != 0 && !a.held {
		a.problem.cause = p.cause
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
	code, sentinel := status.Of(err)
	p := problem{message: sentinel.Error(), code: status.Code(sentinel), cause: cause}
	if invalid, ok := errors.AsType[*registryusers.InvalidFieldsError](err); ok {
		p.message, p.fields = invalidRequest, invalid.Fields
	}
	a.fail(code, p)
}

// failBody makes the answer the one to a body that could not be read or decoded.
func (a *response) failBody(err error) {
	var over *http.MaxBytesError
	var refused *ijson.Error
	switch {
	case errors.As(err, &over):
		a.fail(http.StatusRequestEntityTooLarge, problem{message: tooLarge})
	case errors.As(err, &refused):
		a.fail(http.StatusBadRequest, problem{message: "the body is not JSON that can be accepted: " + refused.Error()})
	default:
		a.fail(http.StatusBadRequest, problem{message: "the body could not be read to its end", cause: err})
	}
}

// invalidRequest is the message of an answer that names invalid fields.
const invalidRequest = "the request is not valid"

// failFields makes the answer a 400 that names what is wrong.
func (a *response) failFields(violations []schema.Violation) {
	p := problem{message: invalidRequest}
	for _, v := range violations {
		if v.Field == "" {
			p.message = "the body " + v.Why
			continue
		}
		if p.fields == nil {
			p.fields = make(map[string][]string)
		}
		p.fields[v.Field] = append(p.fields[v.Field], v.Why)
	}
	a.fail(http.StatusBadRequest, p)
}

// finish sends what was held back and writes the log line.
func (a *response) finish() {
	if value := recover(); value != nil {
		if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			a.problem.cause = err
			a.log()
			panic(value)
		}
		defer a.abortIfSent(a.status != 0 && !a.held)
		a.fail(http.StatusInternalServerError, problem{cause: panicError{value, debug.Stack()}})
	}
	if a.status == 0 {
		a.fail(http.StatusInternalServerError, problem{cause: errors.New("the implementation gave no answer")})
	}
	if a.held {
		if a.status >= 400 {
			a.formError()
		}
		if a.handler.validate && a.operation != nil {
			if err := a.validate(); err != nil {
				a.fail(http.StatusInternalServerError, problem{cause: err})
				a.formError()
			}
		}
		a.send()
		a.size, _ = a.ResponseWriter.Write(a.body.Bytes())
	}
	a.log()
	a.abortIfSent(!a.held && a.problem.cause != nil)
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
	header := a.Header()
	header.Set("X-Request-Id", a.id)
	if header["Cache-Control"] == nil { // a response may hold a secret
		header["Cache-Control"] = noStore
	}
	a.ResponseWriter.WriteHeader(a.status)
}

// formError writes the body and the headers of an error answer. All of them
// come through here, those too that the implementation wrote as one of the
// generated types.
func (a *response) formError() {
	p := a.problem
	header := a.Header()
	if a.body.Len() > 0 {
		p = a.written()
	}
	if p.class == "" {
		p.class = status.Class(a.status)
	}
	if a.status >= 500 { // what broke inside is for the log
		p.message, p.code, p.fields = "", "", nil
	}
	if p.message == "" {
		p.message = status.Message(a.status)
	}
	if a.status >= 500 {
		p.message += "; the server's log says more under this request_id"
	}
	a.problem = p
	a.body.Reset()
	encoder := json.NewEncoder(&a.body)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(models.Error{ // strings, and a map of strings, always encode
		ExceptionClass: p.class,
		Message:        p.message,
		ErrorCode:      p.code,
		InvalidFields:  p.fields,
		RequestID:      a.id,
	})

	for _, name := range []string{"Content-Length", "Content-Encoding", "Location", "X-Content-Type-Options"} {
		header.Del(name) // of whoever wrote the error first
	}
	header.Set("Content-Type", "application/json")
	switch a.status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", "apikey")
	case http.StatusConflict:
		header.Set("x-should-retry", "false") // the vendor's Go SDK repeats a 409 otherwise
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if header.Get("Retry-After") == "" {
			header.Set("Retry-After", "1")
		}
	}
}

// written reads the error that the implementation wrote as one of the generated types.
func (a *response) written() problem {
	p := a.problem
	if p.cause != nil { // the status was not one to answer with, nor are the words
		return p
	}
	if mediaType, _, _ := mime.ParseMediaType(a.Header().Get("Content-Type")); mediaType == "application/json" {
		var e models.Error
		if json.Unmarshal(a.body.Bytes(), &e) == nil {
			p.class, p.message, p.code, p.fields = e.ExceptionClass, e.Message, e.ErrorCode, e.InvalidFields
		}
	}
	if a.status >= 500 && p.message != "" {
		p.cause = errors.New(p.message)
	}
	return p
}

func (a *response) log() {
	panicked, isPanic := a.problem.cause.(panicError) //nolint:errorlint // finish does not wrap it
	level := slog.LevelInfo
	if a.status >= 500 && !errors.Is(a.request.Context().Err(), context.Canceled) || isPanic {
		level = slog.LevelError
	}
	ctx := a.request.Context()
	if !a.handler.logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs,
		slog.String("request_id", a.id),
		slog.String("method", knownMethod(a.request.Method)),
		slog.Int("status", a.status),
		slog.Int("bytes", a.size),
		slog.Duration("duration", time.Since(a.start)),
		slog.String("remote", a.request.RemoteAddr),
	)
	if a.operation != nil {
		attrs = append(attrs, slog.String("operation", a.operation.id))
	}
	if a.status >= 400 {
		attrs = append(attrs, slog.String("class", a.problem.class), slog.String("message", a.problem.message))
	}
	if len(a.problem.fields) > 0 {
		attrs = append(attrs, slog.Any("invalid_fields", a.problem.fields))
	}
	if a.problem.cause != nil && a.problem.cause.Error() != a.problem.message {
		attrs = append(attrs, slog.String("error", a.problem.cause.Error()))
	}
	if isPanic {
		attrs = append(attrs, slog.String("stack", string(panicked.stack)))
	}
	a.handler.logger.LogAttrs(ctx, level, "request", attrs...)
}

// knownMethod keeps words of the caller's own out of the log.
func knownMethod(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE":
		return method
	}
	return "other"
}

// panicError is a panic of the implementation. Its text leaves out a value
// that is not the runtime's own, which may hold a secret.
type panicError struct {
	value any
	stack []byte
}

func (e panicError) Error() string {
	if err, ok := e.value.(runtime.Error); ok {
		return "panic: " + err.Error()
	}
	return fmt.Sprintf("panic with a value of type %T", e.value)
}
