package accounts

import (
	"time"
)

// expiringSet keeps keys for a lifetime each, and at most a number of them. It is
// not safe for concurrent use.
type expiringSet struct {
	lifetime time.Duration
	most     int
	until    map[digest]time.Time
}

func newExpiringSet(lifetime time.Duration, most int) *expiringSet {
	return &expiringSet{lifetime, most, make(map[digest]time.Time)}
}

func (s *expiringSet) has(key digest, now time.Time) bool { return now.Before(s.until[key]) }

func (s *expiringSet) add(key digest, now time.Time) {
	if _, ok := s.until[key]; !ok {
		bound(s.until, s.most, func(until time.Time) bool { return !now.Before(until) })
	}
	s.until[key] = now.Add(s.lifetime)
}

// bound makes room in m if it is full: it deletes the expired entries, and then
// others, down to 3/4 of the limit, so that the next calls find room.
func bound[K comparable, V any](m map[K]V, most int, expired func(V) bool) {
	if len(m) < most {
		return
	}
	for key, value := range m {
		if expired(value) {
			delete(m, key)
		}
	}
	for key := range m {
		if len(m) <= most*3/4 {
			return
		}
		delete(m, key)
	}
}
