package registryusers_test

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/registryusers/registryusers"
)

// marker is the text of every secret here. No output may contain it.
const marker = "MARKERmarker0123456789"

// leaks reports whether output contains the marker, in the clear or in the forms in which fmt and
// encoding/json print bytes.
func leaks(output string) bool {
	compact := strings.NewReplacer(" ", "", "0x", "", "0X", "", ",", "").Replace(output)
	if strings.Contains(strings.ToLower(compact), hex.EncodeToString([]byte(marker))) {
		return true
	}
	decimal := strings.Trim(fmt.Sprintf("%d", []byte(marker)), "[]")
	for _, form := range []string{marker, decimal, base64.StdEncoding.EncodeToString([]byte(marker))} {
		if strings.Contains(output, form) {
			return true
		}
	}
	return false
}

func TestLeaksFindsEveryForm(t *testing.T) {
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%#x", "%# X", "%d"} {
		for name, value := range map[string]any{"text": struct{ s string }{marker}, "bytes": struct{ s []byte }{[]byte(marker)}} {
			if format == "%d" && name == "text" {
				format = "%s"
			}
			if name == "bytes" && format == "%#v" {
				continue // a list of hexadecimal bytes, which a string never prints as
			}
			if got := fmt.Sprintf(format, value); !leaks(got) {
				t.Errorf("leaks(%q) of a plain %s under %s: got false, want true", got, name, format)
			}
		}
	}
	if got := fmt.Sprint(registryusers.NewSecret("other")); leaks(got) {
		t.Errorf("leaks(%q): got true, want false", got)
	}
}

type (
	field[S any]             struct{ Secret S }
	pointerField[S any]      struct{ Secret *S }
	unexported[S any]        struct{ secret S }
	unexportedPointer[S any] struct{ secret *S }
	nested[S any]            struct{ Outer field[S] }
	nestedUnexported[S any]  struct{ outer unexported[S] }
	inInterface              struct{ Any any }
	unexportedInterface      struct{ any any }
)

// A carrier is a value with a secret somewhere in it.
type carrier struct {
	name    string
	value   any
	encoded bool // encoding/json reaches the secret
	logs    bool // the value is a slog.LogValuer itself
}

func carriers[S any](s S) []carrier {
	return []carrier{
		{"value", s, true, true},
		{"pointer", &s, true, true},
		{"pointer to pointer", new(&s), true, false},
		{"field", field[S]{s}, true, false},
		{"pointer to field", &field[S]{s}, true, false},
		{"pointer field", pointerField[S]{&s}, true, false},
		{"unexported field", unexported[S]{s}, false, false},
		{"pointer to unexported field", &unexported[S]{s}, false, false},
		{"unexported pointer field", unexportedPointer[S]{&s}, false, false},
		{"nested field", nested[S]{field[S]{s}}, true, false},
		{"nested unexported field", nestedUnexported[S]{unexported[S]{s}}, false, false},
		{"slice", []S{s, s}, true, false},
		{"slice of pointers", []*S{&s}, true, false},
		{"array", [1]S{s}, true, false},
		{"slice of fields", []field[S]{{s}}, true, false},
		{"slice of unexported fields", []unexported[S]{{s}}, false, false},
		{"map value", map[string]S{"k": s}, true, false},
		{"map value, pointer", map[string]*S{"k": &s}, true, false},
		{"map value, unexported field", map[string]unexported[S]{"k": {s}}, false, false},
		{"interface", inInterface{s}, true, false},
		{"interface with pointer", inInterface{&s}, true, false},
		{"interface in slice", []any{s, &s}, true, false},
		{"interface in map", map[string]any{"k": s}, true, false},
		{"unexported interface", unexportedInterface{s}, false, false},
		{"unexported interface with pointer", unexportedInterface{&s}, false, false},
	}
}

// embedding types take over the secret's methods.
type (
	embedsSecret     struct{ registryusers.Secret }
	embedsSecretText struct{ registryusers.SecretText }
)

func secretCarriers() []carrier {
	s := registryusers.NewSecret(marker)
	return append(carriers(s), carrier{"embedded", embedsSecret{s}, true, true})
}

func secretTextCarriers() []carrier {
	s := registryusers.NewSecretText(marker)
	return append(carriers(s), carrier{"embedded", embedsSecretText{s}, true, true})
}

func TestSecretsNeverPrint(t *testing.T) {
	var formats []string
	for _, verb := range "vsqxXdptcUboOeEfFgGw" {
		for _, flags := range []string{"", "+", "#", " ", "# ", "-40", "040", ".3"} {
			formats = append(formats, "%"+flags+string(verb))
		}
	}
	for kind, all := range map[string][]carrier{"Secret": secretCarriers(), "SecretText": secretTextCarriers()} {
		for _, c := range all {
			for _, format := range formats {
				for printer, got := range map[string]string{
					"Sprintf": fmt.Sprintf(format, c.value),
					"Errorf":  fmt.Errorf(format, c.value).Error(),
				} {
					if leaks(got) {
						t.Errorf("%s, %s: %s(%q) shows the secret: %s", kind, c.name, printer, format, got)
					}
				}
			}
			if got := fmt.Sprint(c.value) + fmt.Sprintln(c.value); leaks(got) {
				t.Errorf("%s, %s: Print shows the secret: %s", kind, c.name, got)
			}
		}
	}
}

func TestSecretsPrintAsRedacted(t *testing.T) {
	secret, text := registryusers.NewSecret(marker), registryusers.NewSecretText(marker)
	const want = "[redacted]"
	for _, verb := range "vsqxXdtcUbe" {
		for _, flag := range []string{"", "+", "#"} {
			format := "%" + flag + string(verb)
			for _, value := range []any{secret, &secret, text, &text} {
				if got := fmt.Sprintf(format, value); got != want {
					t.Errorf("Sprintf(%q, %T): got %q, want %q", format, value, got, want)
				}
			}
		}
	}
	if got := secret.String(); got != want {
		t.Errorf("Secret.String(): got %q, want %q", got, want)
	}
	if got := text.String(); got != want {
		t.Errorf("SecretText.String(): got %q, want %q", got, want)
	}
}

// logged returns what the handler writes for value as an argument, in a
// group, as an attribute of the logger, and under a key that holds a slice.
func logged(newHandler func(*bytes.Buffer) slog.Handler, value any) string {
	var out bytes.Buffer
	logger := slog.New(newHandler(&out))
	logger.Info("argument", "key", value)
	logger.Info("group", slog.Group("group", slog.Any("key", value)))
	logger.With("key", value).WithGroup("group").Info("logger")
	return out.String()
}

func textHandler(out *bytes.Buffer) slog.Handler { return slog.NewTextHandler(out, nil) }
func jsonHandler(out *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(out, nil) }

func TestSecretsNeverLogAsText(t *testing.T) {
	for kind, all := range map[string][]carrier{"Secret": secretCarriers(), "SecretText": secretTextCarriers()} {
		for _, c := range all {
			got := logged(textHandler, c.value)
			if leaks(got) {
				t.Errorf("%s, %s: slog's text handler shows the secret: %s", kind, c.name, got)
			}
			if c.logs && strings.Count(got, "[redacted]") != 3 {
				t.Errorf("%s, %s: got %s, want [redacted] in each of three lines", kind, c.name, got)
			}
		}
	}
}

func TestSecretNeverLogsAsJSON(t *testing.T) {
	for _, c := range secretCarriers() {
		if got := logged(jsonHandler, c.value); leaks(got) {
			t.Errorf("%s: slog's JSON handler shows the secret: %s", c.name, got)
		}
	}
}

func TestSecretNeverEncodesAsJSON(t *testing.T) {
	for _, c := range secretCarriers() {
		got, err := json.Marshal(c.value)
		if err != nil {
			t.Errorf("%s: Marshal: got error %v, want none", c.name, err)
		}
		if leaks(string(got)) {
			t.Errorf("%s: JSON shows the secret: %s", c.name, got)
		}
		if shows := strings.Contains(string(got), "[redacted]"); shows != c.encoded {
			t.Errorf("%s: got %s; that it says [redacted]: got %v, want %v", c.name, got, shows, c.encoded)
		}
	}
}

// The one exception: SecretText goes over the wire, so encoding/json
// shows it, and so does slog's JSON handler when it encodes a value that holds
// one. A SecretText alone is redacted there too.
func TestSecretTextIsClearInJSONAlone(t *testing.T) {
	for _, c := range secretTextCarriers() {
		got, err := json.Marshal(c.value)
		if err != nil {
			t.Errorf("%s: Marshal: got error %v, want none", c.name, err)
		}
		if clear := strings.Contains(string(got), marker); clear != c.encoded {
			t.Errorf("%s: JSON is %s; that it is clear: got %v, want %v", c.name, got, clear, c.encoded)
		}
		want := c.encoded && !c.logs
		if got := logged(jsonHandler, c.value); leaks(got) != want {
			t.Errorf("%s: slog's JSON handler wrote %s; that it is clear: got %v, want %v", c.name, got, leaks(got), want)
		}
	}
}

func TestRevealGivesTheText(t *testing.T) {
	for _, want := range []string{"", "s", marker, "with \"quotes\", \n and \u00e9\U0001F511"} {
		if got := registryusers.NewSecret(want).Reveal(); got != want {
			t.Errorf("NewSecret(%q).Reveal(): got %q", want, got)
		}
		text := registryusers.NewSecretText(want)
		if got := text.Reveal(); got != want {
			t.Errorf("NewSecretText(%q).Reveal(): got %q", want, got)
		}
	}
}

func TestZeroSecretsAreEmptyAndRedacted(t *testing.T) {
	var secret registryusers.Secret
	var text registryusers.SecretText
	if got := secret.Reveal() + text.Reveal(); got != "" {
		t.Errorf("Reveal of zero values: got %q, want nothing", got)
	}
	for _, value := range []any{secret, &secret, text, &text} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if got := fmt.Sprintf(format, value); got != "[redacted]" {
				t.Errorf("Sprintf(%q, zero %T): got %q, want %q: an empty secret looks like any other", format, value, got, "[redacted]")
			}
		}
		if got := logged(jsonHandler, value); strings.Count(got, `"[redacted]"`) != 3 {
			t.Errorf("zero %T: slog's JSON handler wrote %s, want [redacted] in each of three lines", value, got)
		}
	}
	for _, tt := range []struct {
		value any
		want  string
	}{{secret, `"[redacted]"`}, {text, `""`}} {
		if got, err := json.Marshal(tt.value); err != nil || string(got) != tt.want {
			t.Errorf("Marshal(zero %T): got %s, %v, want %s", tt.value, got, err, tt.want)
		}
	}
}

func TestNilPointersToSecretsPrintAndLog(t *testing.T) {
	for _, value := range []any{
		(*registryusers.Secret)(nil), (*registryusers.SecretText)(nil),
		pointerField[registryusers.Secret]{}, pointerField[registryusers.SecretText]{},
	} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if got := fmt.Sprintf(format, value); strings.Contains(got, "PANIC") {
				t.Errorf("Sprintf(%q, nil in %T): got %q, want no panic", format, value, got)
			}
		}
		_ = logged(textHandler, value) // must not panic
		_ = logged(jsonHandler, value)
	}
}

func TestEmptySecretTextIsZero(t *testing.T) {
	for _, tt := range []struct {
		name string
		text registryusers.SecretText
		want bool
		json string
	}{
		{"zero", registryusers.SecretText{}, true, `{}`},
		{"created from nothing", registryusers.NewSecretText(""), true, `{}`},
		{"created from text", registryusers.NewSecretText("s3"), false, `{"secret":"s3"}`},
		{"created from a blank", registryusers.NewSecretText(" "), false, `{"secret":" "}`},
	} {
		if got := tt.text.IsZero(); got != tt.want { // the Secret's
			t.Errorf("%s: IsZero(): got %v, want %v", tt.name, got, tt.want)
		}
		got, err := json.Marshal(struct {
			Secret registryusers.SecretText `json:"secret,omitzero"`
		}{tt.text})
		if err != nil || string(got) != tt.json {
			t.Errorf("%s: as a field with omitzero: got %s, %v, want %s", tt.name, got, err, tt.json)
		}
	}
}

func TestSecretTextGoesThroughJSONUnchanged(t *testing.T) {
	type body struct {
		Secret registryusers.SecretText `json:"secret"`
	}
	for _, want := range []string{"", "s", marker, `"\/`, "\x00\n\t", "<&>\u2028", "\u00e9\U0001F511"} {
		data, err := json.Marshal(body{registryusers.NewSecretText(want)})
		if err != nil {
			t.Errorf("Marshal(%q): %v", want, err)
			continue
		}
		var got body
		if err := json.Unmarshal(data, &got); err != nil || got.Secret.Reveal() != want {
			t.Errorf("%q through %s: got %q, %v", want, data, got.Secret.Reveal(), err)
		}
	}
}

func TestSecretTextErrorsDoNotQuoteTheInput(t *testing.T) {
	for _, input := range []string{`{"secret":9876543210}`, `{"secret":["` + marker + `"]}`, `{"secret":{"` + marker + `":1}}`, `{"secret":true}`} {
		var body struct {
			Secret registryusers.SecretText `json:"secret"`
		}
		err := json.Unmarshal([]byte(input), &body)
		if err == nil {
			t.Errorf("Unmarshal(%s): got no error, want one", input)
			continue
		}
		if got := err.Error(); leaks(got) || strings.Contains(got, "9876543210") {
			t.Errorf("Unmarshal(%s): the error shows the input: %s", input, got)
		}
	}
}

func TestUnmarshalTextReplacesAndDoesNotShare(t *testing.T) {
	first := registryusers.NewSecretText("first")
	kept := first
	input := []byte("second")
	if err := first.UnmarshalText(input); err != nil {
		t.Fatalf("UnmarshalText(second): %v", err)
	}
	copy(input, "XXXXXX")
	if got, want := first.Reveal(), "second"; got != want {
		t.Errorf("after UnmarshalText, its input then overwritten: got %q, want %q", got, want)
	}
	if got, want := kept.Reveal(), "first"; got != want {
		t.Errorf("the copy before UnmarshalText: got %q, want %q", got, want)
	}
	if got, err := first.MarshalText(); err != nil || string(got) != "second" {
		t.Errorf("MarshalText(): got %q, %v, want %q", got, err, "second")
	}
}

// A Secret cannot be read from JSON: its encoding is not its text.
func TestSecretHasNoDecoder(t *testing.T) {
	for _, target := range []any{new(registryusers.Secret)} {
		if _, ok := target.(encoding.TextUnmarshaler); ok {
			t.Errorf("%T is an encoding.TextUnmarshaler, want that it is not", target)
		}
		if err := json.Unmarshal([]byte(`"[redacted]"`), target); err == nil {
			t.Errorf("Unmarshal into a %T: got no error, want one", target)
		}
	}
}

// Comparing with == would take a time that depends on the texts, and comparing
// pointers would find equal texts different.
func TestSecretsAreComparedWithEqualOnly(t *testing.T) {
	for _, secret := range []any{registryusers.Secret{}, registryusers.SecretText{}} {
		if reflect.TypeOf(secret).Comparable() {
			t.Errorf("%T can be compared with ==, want that it cannot", secret)
		}
	}
	for _, tt := range []struct {
		a, b registryusers.Secret
		want bool
	}{
		{registryusers.NewSecret("same"), registryusers.NewSecret("same"), true},
		{registryusers.NewSecret("same"), registryusers.NewSecret("sama"), false},
		{registryusers.NewSecret("same"), registryusers.NewSecret("samesame"), false},
		{registryusers.NewSecret("same"), registryusers.Secret{}, false},
		{registryusers.NewSecret(""), registryusers.Secret{}, true},
		{registryusers.Secret{}, registryusers.Secret{}, true},
	} {
		for _, pair := range [][2]registryusers.Secret{{tt.a, tt.b}, {tt.b, tt.a}} {
			if got := pair[0].Equal(pair[1]); got != tt.want {
				t.Errorf("Secrets %q and %q: Equal: got %v, want %v", pair[0].Reveal(), pair[1].Reveal(), got, tt.want)
			}
			if got := (registryusers.SecretText{Secret: pair[0]}).Equal(registryusers.SecretText{Secret: pair[1]}); got != tt.want {
				t.Errorf("SecretTexts %q and %q: Equal: got %v, want %v", pair[0].Reveal(), pair[1].Reveal(), got, tt.want)
			}
		}
	}
}

// cmp.Diff bypasses String when two different values print alike.
func TestCmpComparesSecretsAndDoesNotShowThem(t *testing.T) {
	testDiff(t, registryusers.NewSecret)
	testDiff(t, registryusers.NewSecretText)
}

func testDiff[S any](t *testing.T, newSecret func(string) S) {
	t.Helper()
	if diff := cmp.Diff(carriers(newSecret(marker)), carriers(newSecret(marker)), seeUnexported); diff != "" {
		t.Errorf("cmp.Diff of equal %Ts: got %s, want none", newSecret(""), diff)
	}
	ones, others := carriers(newSecret(marker)), carriers(newSecret(marker+marker))
	for i, one := range ones {
		diff := cmp.Diff(one.value, others[i].value, seeUnexported)
		if diff == "" || leaks(diff) {
			t.Errorf("cmp.Diff of different %Ts, %s: got %q, want a difference that does not show the secret", newSecret(""), one.name, diff)
		}
	}
}

// seeUnexported lets cmp compare the fields that other packages cannot see.
var seeUnexported = cmp.Exporter(func(reflect.Type) bool { return true })

func TestSecretsInErrorChainsDoNotPrint(t *testing.T) {
	err := errors.Join(fmt.Errorf("with %v", registryusers.NewSecret(marker)),
		fmt.Errorf("and %+v", field[registryusers.SecretText]{registryusers.NewSecretText(marker)}))
	if got := fmt.Sprintf("%v %+v %#v", err, err, err); leaks(got) {
		t.Errorf("an error with secrets shows one: %s", got)
	}
}
