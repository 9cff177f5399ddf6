package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// sizeFlag is the value of a flag for a number of bytes: digits, optionally with
// KiB, MiB or GiB. The empty value keeps the default.
type sizeFlag struct {
	text  string
	bytes *int64
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"", 1}}

// Set implements [pflag.Value].
func (f *sizeFlag) Set(text string) error {
	if text == "" {
		return nil
	}
	for _, unit := range sizeUnits {
		digits, ok := strings.CutSuffix(text, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/unit.bytes {
			break
		}
		f.text, *f.bytes = text, n*unit.bytes
		return nil
	}
	return errors.New("must be a number of bytes, such as 1048576, 1024KiB, 512MiB or 2GiB")
}

// String implements [pflag.Value].
func (f *sizeFlag) String() string { return f.text }

// Type implements [pflag.Value].
func (f *sizeFlag) Type() string { return "SIZE" }
