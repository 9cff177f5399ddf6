package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/registryusers/registryusers/internal/observe"
)

// The deadlines of a connection belong to its requests: every request sets both
// when it begins, so that none is left from the request before.
//
// A body that no handler reads is drained by net/http before the response
// leaves. It has [unreadTimeout] to come; only a handler's own reads give it more.

// limits are how long a request may take.
type limits struct {
	total time.Duration // for all of it
	body  time.Duration // for its body to come; 0: total
	step  time.Duration // for each read and each write; 0: they have what total and body leave
}

// Images take long, so at /v2/ a client may pause and go on, within hours;
// elsewhere a request must be over in time. Strangers may send a form.
var (
	brief  = limits{total: time.Minute}
	form   = limits{total: time.Minute, body: 10 * time.Second}
	images = limits{total: 6 * time.Hour, step: 5 * time.Minute}
)

// responseTime is what the handler of a request without steps leaves of total for
// its response to be sent.
const responseTime = 5 * time.Second

// apply sets the deadlines of a request, and returns it with its context's. Call
// cancel when it has ended.
func (l limits) apply(record *observe.Record, r *http.Request) (limited *http.Request, cancel context.CancelFunc) {
	now := time.Now()
	end := now.Add(l.total)
	bodyEnd := end
	if l.body > 0 {
		bodyEnd = now.Add(l.body)
	}
	cancel = func() {}
	connection := http.NewResponseController(record.Writer.ResponseWriter) // its methods fail on no real connection
	extend := func(end time.Time) time.Time { return end }
	if l.step > 0 {
		extend = func(end time.Time) time.Time { return earlier(time.Now().Add(l.step), end) }
		record.Writer.BeforeWrite(func() { _ = connection.SetWriteDeadline(extend(end)) })
	} else {
		var ctx context.Context
		ctx, cancel = context.WithDeadline(r.Context(), end.Add(-responseTime))
		r = r.WithContext(ctx)
	}
	_ = connection.SetWriteDeadline(extend(end))
	afterBody := end
	if l.step > 0 { // the client need not send more, and the handler may work
		afterBody = time.Time{}
	}
	if r.ContentLength == 0 {
		_ = connection.SetReadDeadline(afterBody)
		return r, cancel
	}
	_ = connection.SetReadDeadline(now.Add(unreadTimeout))
	r.Body = &deadlineBody{r.Body, func(err error) {
		if err == nil {
			_ = connection.SetReadDeadline(extend(bodyEnd))
		} else if errors.Is(err, io.EOF) {
			_ = connection.SetReadDeadline(afterBody)
		}
	}}
	return r, cancel
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// deadlineBody calls extend before each read, with nil, and with its error after it.
type deadlineBody struct {
	io.ReadCloser
	extend func(error)
}

func (b *deadlineBody) Read(p []byte) (int, error) {
	b.extend(nil)
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.extend(err)
	}
	return n, err
}
