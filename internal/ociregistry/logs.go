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

// The library logs through logrus' one global logger, so its log has one way
// out as well: the logger of the last registry that was opened.
var sink atomic.Pointer[slog.Logger]

// logTo has the library's log come out of logger. A line for each request is
// the door's; of the library's own, only its failures are told.
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

// Fire implements [logrus.Hook]. What failed in the registry itself is answered
// UNKNOWN; all else that the library calls an error is a client's mistake, or
// what came of it.
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
// client has gone, or stopped sending.
func isClientGone(detail any) bool {
	if err, ok := detail.(error); ok {
		return errors.Is(err, context.Canceled)
	}
	return detail == "client disconnected" || detail == errBody.Error()
}
