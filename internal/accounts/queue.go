package accounts

import (
	"cmp"
	"slices"
)

// queue holds the callers that wait for something, at most maxQueue of them,
// in the order in which they are served: those whose networks have failed least
// come first; among equals, owners (addresses, or API keys) take turns, and each
// owner's callers are served in order of arrival. When it is full, a newcomer that
// would be served earlier takes the place of the last one.
//
// So an address that has not failed never waits for one that has, and an owner
// with many callers does not hold up one with few. The zero queue is empty. It is
// not safe for concurrent use.
type queue struct {
	waiters []*waiter // sorted
	turn    int       // of the one that was served last
}

// maxQueue is how many callers wait in a queue.
const maxQueue = 64

// waiter is a caller that waits.
type waiter struct {
	owner  string
	failed float64 // share of its limits that its networks have spent
	turn   int     // after the one served last, and one more for each caller of the owner that waits

	// served gets true when it is served, and false when it lost its place.
	served chan bool
}

func newWaiter(owner string, failed float64) *waiter {
	return &waiter{owner: owner, failed: failed, served: make(chan bool, 1)}
}

// before compares two waiters by who is served first; 0 means by arrival.
func (w *waiter) before(other *waiter) int {
	return cmp.Or(cmp.Compare(w.failed, other.failed), cmp.Compare(w.turn, other.turn))
}

// add puts w in its place. It reports false if there is none for it.
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
		return cmp.Or(other.before(w), -1) // after its equals
	})
	q.waiters = slices.Insert(q.waiters, i, w)
	return true
}

// serve serves the first one. It reports false if nobody waits.
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

// remove takes w out. It reports false if it was served, or lost its place, before.
func (q *queue) remove(w *waiter) bool {
	i := slices.Index(q.waiters, w)
	if i < 0 {
		return false
	}
	q.waiters = slices.Delete(q.waiters, i, i+1)
	return true
}
