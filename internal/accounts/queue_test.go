package accounts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryusers/registryusers"
)

// served empties a queue and returns the owners in the order in which they were served.
func served(q *queue) (owners []string) {
	for len(q.waiters) > 0 {
		owners = append(owners, q.waiters[0].owner)
		q.serve()
	}
	return owners
}

func TestOrderOfAQueue(t *testing.T) {
	for _, test := range []struct {
		what  string
		enter string // owners, each with its failures
		want  string
	}{
		{"order of arrival", "a0 b0 c0", "a b c"},
		{"fewest failures first", "a3 b1 c2 d0 e1", "d b e c a"},
		{"owners take turns", "a0 a0 a0 b0 c0 b0", "a b c a b a"},
		{"fewest failures before turns", "a1 b0 b0 b0", "b b b a"},
	} {
		var q queue
		for entry := range strings.FieldsSeq(test.enter) {
			if !q.add(newWaiter(entry[:1], float64(entry[1]-'0'))) {
				t.Fatalf("%s: no place for %s", test.what, entry)
			}
		}
		if got := strings.Join(served(&q), " "); got != test.want {
			t.Errorf("%s: %s are served as %s; want %s", test.what, test.enter, got, test.want)
		}
	}
}

// The longest-waiting caller of an owner with many callers is not overtaken for ever by
// later ones.
func TestQueueStarvesNoOwner(t *testing.T) {
	var q queue
	for range 10 {
		q.add(newWaiter("many", 0))
	}
	last := newWaiter("many", 0)
	q.add(last)
	for i := range 100 {
		q.add(newWaiter(fmt.Sprint("once", i), 0))
		q.serve()
		if len(last.served) == 1 {
			if i < 10 {
				t.Errorf("the eleventh of one owner was served as number %d", i)
			}
			return
		}
	}
	t.Error("the eleventh of an owner was not served among 100")
}

func TestFullQueueDropsTheLastInOrder(t *testing.T) {
	var q queue
	var waiters []*waiter
	for i := range maxQueue {
		w := newWaiter(fmt.Sprint("address", i), float64(i%4))
		waiters = append(waiters, w)
		q.add(w)
	}
	if q.add(newWaiter("as bad", 3)) || q.add(newWaiter("worse", 4)) {
		t.Error("a newcomer that has failed as much as the last one, or more, got a place")
	}
	if !q.add(newWaiter("better", 2)) || len(q.waiters) != maxQueue {
		t.Errorf("a newcomer that has failed less than the last one: %d wait; want it among %d", len(q.waiters), maxQueue)
	}
	lost := waiters[maxQueue-1] // the last to arrive of those that failed most
	select {
	case served := <-lost.served:
		if served || q.remove(lost) {
			t.Error("the caller that lost its place was served, or is still in the queue")
		}
	default:
		t.Error("no caller lost its place")
	}

	q = queue{}
	for range maxQueue {
		q.add(newWaiter("many", 0))
	}
	if q.add(newWaiter("many", 0)) {
		t.Error("an owner that has all places got one more")
	}
	if !q.add(newWaiter("one", 0)) {
		t.Error("an owner without a place got none from an owner that has all")
	}
	if got := served(&q); slices.Index(got, "one") != 1 {
		t.Errorf("the newcomer is served as number %d; want 1, after the first of the owner that came before", slices.Index(got, "one"))
	}
}

// attempt is a login that waits for its end.
type attempt struct {
	name, secret, from string
	err                error
	took               time.Duration
}

// loginTogether starts logins one after the other, so that they wait in this order.
func (s *Service) loginTogether(ctx context.Context, attempts []*attempt) *sync.WaitGroup {
	var wg sync.WaitGroup
	for _, a := range attempts {
		wg.Go(func() {
			start := time.Now()
			a.err = s.loginAs(ctx, a.name, a.secret, a.from)
			a.took = time.Since(start)
		})
		synctest.Wait()
	}
	return &wg
}

// A login from an address without failures is hashed before those from
// addresses with failures, and takes the place of one when all are taken.
func TestALoginWithoutFailuresGetsAheadOfGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newOne(t)
		guessers := make([]*attempt, maxQueue)
		for i := range guessers {
			guessers[i] = &attempt{name: "v", secret: "wrong1", from: fmt.Sprintf("2001:db8:%x::1", i)}
			// Another address of its /48 has failed.
			s.throttle.recordFailure(guessAt(s.throttle, "w", fmt.Sprintf("2001:db8:%x:ff00::1", i), 0), time.Now())
		}
		empty := s.logins.occupy(t)
		waiting := s.loginTogether(t.Context(), guessers)
		same := &attempt{name: "v", secret: "wrong2", from: "2001:db8:1::2"}
		s.loginTogether(t.Context(), []*attempt{same}).Wait()
		if !errors.Is(same.err, registryusers.ErrUnavailable) || same.took != 0 {
			t.Errorf("one guess more from such an address: %v after %v; want %v at once", same.err, same.took, registryusers.ErrUnavailable)
		}
		user := &attempt{name: "u", secret: "pw", from: "192.0.2.1"}
		userWaits := s.loginTogether(t.Context(), []*attempt{user})
		last := guessers[maxQueue-1]
		if !errors.Is(last.err, registryusers.ErrUnavailable) || last.took != 0 {
			t.Errorf("the guess that arrived last, when a login without failures came: %v after %v; want %v at once", last.err, last.took, registryusers.ErrUnavailable)
		}
		if first := s.logins.waiting.waiters[0]; first.owner != "192.0.2.1/32" {
			t.Errorf("the first that waits is of %s; want the login without failures", first.owner)
		}
		empty()
		userWaits.Wait()
		waiting.Wait()
		if user.err != nil {
			t.Errorf("the login without failures: %v; want success", user.err)
		}
		for i, a := range guessers[:maxQueue-1] {
			if !errors.Is(a.err, registryusers.ErrUnauthenticated) {
				t.Errorf("guess %d: %v; want %v", i, a.err, registryusers.ErrUnauthenticated)
			}
		}
	})
}

// An address that sends many logins at once has all places only while no other
// address wants one.
func TestOneAddressDoesNotHoldAllPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newOne(t)
		many := make([]*attempt, maxQueue)
		for i := range many {
			many[i] = &attempt{name: fmt.Sprint("v", i), secret: "wrong", from: "198.51.100.1"}
		}
		empty := s.logins.occupy(t)
		waiting := s.loginTogether(t.Context(), many)
		user := &attempt{name: "u", secret: "pw", from: "192.0.2.1"}
		userWaits := s.loginTogether(t.Context(), []*attempt{user})
		if second := s.logins.waiting.waiters[1]; second.owner != "192.0.2.1/32" {
			t.Errorf("the second that waits is of %s; want the other address", second.owner)
		}
		empty()
		userWaits.Wait()
		waiting.Wait()
		if user.err != nil {
			t.Errorf("a login from another address: %v; want success", user.err)
		}
		if !errors.Is(many[maxQueue-1].err, registryusers.ErrUnavailable) {
			t.Errorf("the last of the many: %v; want %v", many[maxQueue-1].err, registryusers.ErrUnavailable)
		}
	})
}

// A repeated wrong secret is no new failure, but it costs a hash: the address
// is nevertheless served after others.
func TestRepeatedWrongSecretsAreServedLater(t *testing.T) {
	throttle, now := newLoginThrottle(), time.Now()
	g := guessAt(throttle, "u", "192.0.2.1", 0)
	throttle.recordFailure(g, now)
	once := throttle.failureLoad(g, now)
	throttle.recordFailure(g, now)
	if twice := throttle.failureLoad(g, now); once <= 0 || twice <= once {
		t.Errorf("the share after a wrong secret is %v, after a repeat %v; want more each time", once, twice)
	}
	// An attacker's share does not restart with its limits.
	if got := throttle.failureLoad(g, now.Add(failureWindow)); got != throttle.failureLoad(g, now) {
		t.Errorf("the share after the limits' window is %v; want it unchanged", got)
	}
	if got := throttle.failureLoad(g, now.Add(rankWindow)); got != 0 {
		t.Errorf("the share an hour later is %v; want 0", got)
	}
}

func TestALoginThatLeavesTheQueueFreesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newOne(t)
		slots := s.logins.unused()
		empty := s.logins.occupy(t)
		ctx, cancel := context.WithCancel(t.Context())
		canceled := &attempt{name: "u", secret: "pw", from: "192.0.2.1"}
		first := s.loginTogether(ctx, []*attempt{canceled})
		other := s.loginTogether(t.Context(), []*attempt{{name: "u", secret: "pw", from: "192.0.2.2"}})
		cancel()
		first.Wait()
		if !errors.Is(canceled.err, context.Canceled) || !errors.Is(canceled.err, registryusers.ErrUnavailable) || s.logins.length() != 1 {
			t.Errorf("a login that is canceled while it waits: %v, and %d wait; want %v, and the other one", canceled.err, s.logins.length(), context.Canceled)
		}
		empty()
		other.Wait()
		if s.logins.unused() != slots || s.logins.length() != 0 {
			t.Errorf("%d slots are free and %d callers wait in the end; want %d and none", s.logins.unused(), s.logins.length(), slots)
		}
	})
}

// The holder of an API key whose creates take all places does not delay the
// holder of another.
func TestCreatesOfAPIKeysTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newOne(t)
		empty := s.creates.occupy(t)
		create := func(key int64) error {
			_, err := s.CreateUser(t.Context(), APIKey{ID: key}, RegistryRef{}, "", NewUser{Name: "n", Secret: registryusers.NewSecretText("custom")})
			return err
		}
		var wg sync.WaitGroup
		refused := 0
		for range maxQueue {
			wg.Go(func() {
				if err := create(1); errors.Is(err, registryusers.ErrUnavailable) {
					refused++ // one goroutine
				} else if err != nil {
					t.Errorf("a create of the first key: %v; want success", err)
				}
			})
		}
		synctest.Wait()
		if err := create(1); !errors.Is(err, registryusers.ErrUnavailable) {
			t.Errorf("one create more of the first key: %v; want %v", err, registryusers.ErrUnavailable)
		}
		wg.Go(func() {
			if err := create(2); err != nil {
				t.Errorf("a create of the second key: %v; want success", err)
			}
		})
		synctest.Wait()
		if got := s.creates.waiting.waiters[1].owner; got != "2" {
			t.Errorf("the second create that waits is of the key %s; want 2", got)
		}
		empty()
		wg.Wait()
		if refused != 1 {
			t.Errorf("%d creates of the first key lost their places; want 1", refused)
		}
	})
}
