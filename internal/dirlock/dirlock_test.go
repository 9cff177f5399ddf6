package dirlock_test

import (
	"errors"
	"testing"

	"github.com/registryusers/registryusers/internal/dirlock"
)

// want wants the lock, or ErrLocked.
func want(t *testing.T, what string, lock func(string) (func() error, error), directory string, want error) (unlock func()) {
	t.Helper()
	release, err := lock(directory)
	if !errors.Is(err, want) {
		t.Fatalf("%s: got %v, want %v", what, err, want)
	}
	return func() {
		t.Helper()
		if err := release(); err != nil {
			t.Errorf("unlock after %s: %v", what, err)
		}
	}
}

func TestLocksExcludeEachOther(t *testing.T) {
	directory := t.TempDir()
	first := want(t, "shared", dirlock.Shared, directory, nil)
	second := want(t, "shared beside shared", dirlock.Shared, directory, nil)
	want(t, "exclusive beside shared", dirlock.Exclusive, directory, dirlock.ErrLocked)
	first()
	want(t, "exclusive beside one that is still shared", dirlock.Exclusive, directory, dirlock.ErrLocked)
	second()
	alone := want(t, "exclusive", dirlock.Exclusive, directory, nil)
	want(t, "exclusive beside exclusive", dirlock.Exclusive, directory, dirlock.ErrLocked)
	want(t, "shared beside exclusive", dirlock.Shared, directory, dirlock.ErrLocked)
	alone()
	want(t, "shared again", dirlock.Shared, directory, nil)()
}
