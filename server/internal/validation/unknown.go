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

// addUnknown adds the name of a field of the value in field to all, which has no repeats, is
// sorted, and keeps the first eight. The name has dots between levels, is cut after 64 bytes,
// and is quoted if it is empty or has characters that are not printable.
func addUnknown[T string | []byte](all []string, field T, unknown string) []string {
	text := append(make([]byte, 0, 2*maxUnknownName+3), field[:min(len(field), maxUnknownName+1)]...)
	if len(field) > 0 {
		text = append(text, '.')
	}
	text = append(text, unknown[:min(len(unknown), maxUnknownName+1)]...)
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
