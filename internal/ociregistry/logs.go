package ociregistry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/sirupsen/logrus"
)

// registryComponent is in the lines that this package logs, but for the access log.
var registryComponent = slog.String("component", "registry")

// logTarget receives the library's log. The library logs through logrus' global logger,
// so there is one target: the logger of the registry that was opened last.
var logTarget atomic.Pointer[slog.Logger]

// logTo passes the library's errors to logger. The library's other messages are
// dropped: package observe writes the access log.
func logTo(logger *slog.Logger) {
	logTarget.Store(logger)
	installHook()
}

var installHook = sync.OnceFunc(func() {
	logrus.SetOutput(io.Discard)
	logrus.SetLevel(logrus.ErrorLevel)
	logrus.AddHook(hook{})
})

type hook struct{}

func (hook) Levels() []logrus.Level { return logrus.AllLevels[:logrus.ErrorLevel+1] }

// logField is the field of the library's log entries that has the exchange of the
// request: the library copies the value from the request's context.
const logField = "instance.id"

// Fire implements [logrus.Hook]. The code UNKNOWN stands for failures of the
// registry itself. The cause of one goes into the line of its request in the access
// log; without a request it is logged at level Error. The library's other errors are
// client errors or follow from them; their level is Debug.
func (hook) Fire(entry *logrus.Entry) error {
	e, _ := entry.Data[logField].(*exchange)
	detail := entry.Data["err.detail"]
	cause, isError := detail.(error)
	isClientGone := isError && errors.Is(cause, context.Canceled) || detail == "client disconnected"
	isFailure := entry.Data["err.code"] == errcode.ErrorCodeUnknown && !isClientGone
	level := slog.LevelDebug
	switch {
	case e != nil && e.refused.Load() != nil: // follows from the refusal
	case e != nil && isFailure:
		if !isError {
			cause = fmt.Errorf("%v", cmp.Or(detail, entry.Data["err.message"]))
		}
		e.SetCause(withoutPath(cause))
		return nil
	case isFailure || entry.Level < logrus.ErrorLevel:
		level = slog.LevelError
	}
	var attrs []slog.Attr
	if e != nil {
		attrs = append(attrs, slog.String("request_id", e.ID))
	}
	for _, field := range []struct{ library, name string }{
		{"err.code", "code"}, {"err.message", "message"}, {"err.detail", "detail"}, {"vars.name", "repository"},
	} {
		if value, ok := entry.Data[field.library]; ok {
			attrs = append(attrs, slog.Any(field.name, value))
		}
	}
	logTarget.Load().LogAttrs(context.Background(), level, entry.Message, attrs...)
	return nil
}
