package ociregistry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/sirupsen/logrus"
)

// sink receives the library's log. The library logs through logrus' global logger,
// so there is one sink: the logger of the registry that was opened last.
var sink atomic.Pointer[slog.Logger]

// logTo passes the library's errors to logger. The library's other messages are
// dropped: package observe writes the access log.
func logTo(logger *slog.Logger) {
	sink.Store(logger)
	adopt()
}

var adopt = sync.OnceFunc(func() {
	logrus.SetOutput(io.Discard)
	logrus.SetLevel(logrus.ErrorLevel)
	logrus.AddHook(hook{})
})

type hook struct{}

func (hook) Levels() []logrus.Level { return logrus.AllLevels[:logrus.ErrorLevel+1] }

// Fire implements [logrus.Hook]. The code UNKNOWN stands for failures of the
// registry itself, which are logged at level Error. The library's other errors are
// client errors or follow from them; their level is Debug.
func (hook) Fire(entry *logrus.Entry) error {
	level := slog.LevelDebug
	if entry.Data["err.code"] == errcode.ErrorCodeUnknown && !isClientGone(entry.Data["err.detail"]) || entry.Level < logrus.ErrorLevel {
		level = slog.LevelError
	}
	var attrs []slog.Attr
	for _, name := range []string{"err.code", "err.message", "err.detail", "vars.name"} {
		if value, ok := entry.Data[name]; ok {
			attrs = append(attrs, slog.Any(name, value))
		}
	}
	sink.Load().LogAttrs(context.Background(), level, "registry: "+entry.Message, attrs...)
	return nil
}

// isClientGone reports whether the detail of the library's error says that the
// client has disconnected or stopped sending.
func isClientGone(detail any) bool {
	if err, ok := detail.(error); ok {
		return errors.Is(err, context.Canceled)
	}
	return detail == "client disconnected" || detail == errBody.Error()
}
