package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/registryusers/registryusers/internal/observe"
)

// Every request sets both deadlines of its connection when it begins, so that none
// is left from the request before.
//
// If no handler reads a body, net/http drains it before it sends the response. Such
// a body must arrive within [unreadTimeout]; only a handler's reads extend that.

// deadlines limit how long a request may take.
type deadlines struct {
	total  time.Duration // for the complete request
	body   time.Duration // for its body to arrive; 0: total
	eachIO time.Duration // for each read and each write; 0: only total and body apply
}

// Images take long, so at /v2/ a client may pause, and has hours in total. Other
// requests are short. A form has a limit of its own, because any client may send it.
var (
	shortDeadlines = deadlines{total: time.Minute}
	formDeadlines  = deadlines{total: time.Minute, body: 10 * time.Second}
	imageDeadlines = deadlines{total: 6 * time.Hour, eachIO: 5 * time.Minute}
)

// responseTime is the part of total that is reserved for sending the response, for
// requests without eachIO.
const responseTime = 5 * time.Second

// apply sets the deadlines of a request, and of its context, which is record. cancel must
// be called when the request has ended.
func (d deadlines) apply(record *observe.Record, r *http.Request) (cancel context.CancelFunc) {
	now := time.Now()
	end := now.Add(d.total)
	bodyEnd := end
	if d.body > 0 {
		bodyEnd = now.Add(d.body)
	}
	cancel = func() {}
	connection := http.NewResponseController(record.Writer.ResponseWriter) // its methods do not fail on a real connection
	extend := func(end time.Time) time.Time { return end }
	if d.eachIO > 0 {
		extend = func(end time.Time) time.Time { return earlier(time.Now().Add(d.eachIO), end) }
		record.Writer.BeforeWrite(func() { _ = connection.SetWriteDeadline(extend(end)) })
	} else {
		record.Context, cancel = context.WithDeadline(record.Context, end.Add(-responseTime))
	}
	_ = connection.SetWriteDeadline(extend(end))
	afterBody := end
	if d.eachIO > 0 { // the client has nothing more to send, and the handler may take long
		afterBody = time.Time{}
	}
	if r.ContentLength == 0 {
		_ = connection.SetReadDeadline(afterBody)
		return cancel
	}
	_ = connection.SetReadDeadline(now.Add(unreadTimeout))
	r.Body = &deadlineBody{r.Body, func(err error) {
		if err == nil {
			_ = connection.SetReadDeadline(extend(bodyEnd))
		} else if errors.Is(err, io.EOF) {
			_ = connection.SetReadDeadline(afterBody)
		}
	}}
	return cancel
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// deadlineBody calls extend with nil before each read, and with the error after a
// read that fails.
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
