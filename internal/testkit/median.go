package testkit

import (
	"slices"
	"time"
)

// Median calls f that many times and returns the median of the durations.
func Median(times int, f func()) time.Duration {
	durations := make([]time.Duration, times)
	for i := range durations {
		start := time.Now()
		f()
		durations[i] = time.Since(start)
	}
	slices.Sort(durations)
	return durations[len(durations)/2]
}
