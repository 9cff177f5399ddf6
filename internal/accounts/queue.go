package accounts

import (
	"cmp"
	"slices"
)

// queue holds waiting callers, at most maxQueue of them, in the order in which
// they are served: callers whose networks have the fewest failures come first;
// among equals, owners (addresses, or API keys) take turns, and each owner's
// callers are served in order of arrival. When the queue is full, a new caller
// that would be served before the last one replaces it.
//
// So an address without failures never waits for one with failures, and an owner
// with many callers does not delay one with few. The zero queue is empty. It is
// not safe for concurrent use.
type queue struct {
	waiters []*waiter // sorted
	turn    int       // of the waiter that was served last
}

// maxQueue is the most callers that wait in a queue.
const maxQueue = 64

// waiter is a waiting caller.
type waiter struct {
	owner  string
	failed float64 // share of its limits that its networks have used
	turn   int     // one after the turn served last, or after the owner's last waiting caller

	// served receives true when the caller is served, and false when another one
	// replaced it.
	served chan bool
}

func newWaiter(owner string, failed float64) *waiter {
	return &waiter{owner: owner, failed: failed, served: make(chan bool, 1)}
}

// before compares two waiters: the smaller one is served first, and equal ones are
// served in order of arrival.
func (w *waiter) before(other *waiter) int {
	return cmp.Or(cmp.Compare(w.failed, other.failed), cmp.Compare(w.turn, other.turn))
}

// add inserts w in order. It reports false if the queue is full of callers that are
// served before w.
func (q *queue) add(w *waiter) bool {
	w.turn = q.turn + 1
	for _, other := range q.waiters {
		if other.owner == w.owner {
			w.turn = max(w.turn, other.turn+1)
		}
	}
	if len(q.waiters) >= maxQueue {
		last := q.waiters[len(q.waiters)-1]
		if w.before(last) >= 0 {
			return false
		}
		q.remove(last)
		last.served <- false
	}
	i, _ := slices.BinarySearchFunc(q.waiters, w, func(other, w *waiter) int {
		return cmp.Or(other.before(w), -1) // after equal ones
	})
	q.waiters = slices.Insert(q.waiters, i, w)
	return true
}

// serve serves the first caller. It reports false if no caller waits.
func (q *queue) serve() bool {
	if len(q.waiters) == 0 {
		return false
	}
	first := q.waiters[0]
	q.remove(first)
	q.turn = max(q.turn, first.turn)
	first.served <- true
	return true
}

// remove removes w. It reports false if w has been served or replaced.
func (q *queue) remove(w *waiter) bool {
	i := slices.Index(q.waiters, w)
	if i < 0 {
		return false
	}
	q.waiters = slices.Delete(q.waiters, i, i+1)
	return true
}
