package validation

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// These limit the unknown fields of a body that are named, and the bytes of each name: a
// body of a megabyte can have many thousands.
const (
	maxUnknown     = 8
	maxUnknownName = 64
)

// addUnknown adds the name of a field of the value at path to all, which has no repeats, is
// sorted, and keeps the first eight. The name has dots between levels, is cut after 64 bytes,
// and is quoted if it is empty or has characters that are not printable.
func addUnknown(all, path []string, field string) []string {
	text := make([]byte, 0, 2*maxUnknownName+2)
	for i := 0; i <= len(path) && len(text) <= maxUnknownName; i++ {
		part := field
		if i < len(path) {
			part = path[i]
		}
		if i > 0 {
			text = append(text, '.')
		}
		text = append(text, part[:min(len(part), maxUnknownName+1)]...)
	}
	name := string(text)
	if len(name) > maxUnknownName {
		name = strings.ToValidUTF8(name[:maxUnknownName-len("…")], "") + "…"
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		name = strconv.Quote(name)
	}
	at, found := slices.BinarySearch(all, name)
	if found || at == maxUnknown {
		return all
	}
	return slices.Insert(all[:min(len(all), maxUnknown-1)], at, name)
}
