package main

import "testing"

func TestSizeFlag(t *testing.T) {
	for text, want := range map[string]int64{
		"": -1, "0": 0, "17": 17, "1024KiB": 1 << 20, "512MiB": 512 << 20, "2 GiB": 2 << 30, "8589934591GiB": 8589934591 << 30,
	} {
		got := int64(-1)
		if err := (&sizeFlag{bytes: &got}).Set(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"-1", "1.5GiB", "MiB", "1MB", "1mib", "8589934592GiB", "9223372036854775808", "0x10", "1 2", " "} {
		got := int64(-1)
		if err := (&sizeFlag{bytes: &got}).Set(text); err == nil || got != -1 {
			t.Errorf("%q: got %d, want an error and no change", text, got)
		}
	}
}
