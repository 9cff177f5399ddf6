package semaphore

import (
	"sync"
	"testing"
)

func TestTryAcquire(t *testing.T) {
	var k Keyed
	first, _ := k.TryAcquire(Claim{"user 1", 2, 3}, Claim{"all", 2, 4})
	if release, full := k.TryAcquire(Claim{"user 1", 2, 3}, Claim{"all", 2, 4}); release != nil || full != 0 {
		t.Errorf("a user's limit: got the index %d, acquired: %t; want 0, and nothing acquired", full, release != nil)
	}
	if release, full := k.TryAcquire(Claim{"user 2", 3, 3}, Claim{"all", 3, 4}); release != nil || full != 1 {
		t.Errorf("the limit of all: got the index %d, acquired: %t; want 1, and nothing acquired", full, release != nil)
	}
	if got := [...]int64{k.InUse("user 1"), k.InUse("user 2"), k.InUse("all")}; got != [...]int64{2, 0, 2} {
		t.Errorf("in use: got %d, want 2, 0 and 2: a refused acquire acquires nothing", got)
	}
	second, _ := k.TryAcquire(Claim{"user 2", 2, 3}, Claim{"all", 2, 4})
	nothing, _ := k.TryAcquire(Claim{"user 3", 0, 0}, Claim{"all", 0, 4})
	if second == nil || nothing == nil {
		t.Fatal("up to the limit of all: got a refusal, want it acquired; and nothing can always be acquired")
	}
	for _, release := range []func(){first, second, nothing} {
		release()
	}
	if len(k.inUse) != 0 {
		t.Errorf("when all is released: got %v, want no key", k.inUse)
	}
}

func TestConcurrentAcquires(t *testing.T) {
	var k Keyed
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 1000 {
				if release, _ := k.TryAcquire(Claim{i % 2, 1, 2}, Claim{"all", 1, 3}); release != nil {
					if got := k.InUse("all"); got < 1 || got > 3 {
						t.Errorf("in use: got %d, want 1 to 3", got)
					}
					release()
				}
			}
		})
	}
	group.Wait()
	if len(k.inUse) != 0 {
		t.Errorf("when all is released: got %v, want no key", k.inUse)
	}
}
