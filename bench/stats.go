package main

import "slices"

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratios returns the ratio of each value to the base of the same turn.
func ratios(values, bases []float64) []float64 {
	var rs []float64
	for i, base := range bases {
		rs = append(rs, values[i]/base)
	}
	return rs
}

// percentile99 returns the 99th percentile of values, or 0 if there are none. It
// sorts values.
func percentile99(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[(len(values)*99+99)/100-1]
}
