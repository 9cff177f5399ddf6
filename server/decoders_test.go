package server

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/oapi-codegen/runtime"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/gen/apiserver"
	"github.com/registryusers/registryusers/gen/models"
	"github.com/registryusers/registryusers/server/internal/validation"
)

// newCreate returns the operation of the embedded document whose body has a generated
// decoder.
func newCreate(tb testing.TB) *operation {
	tb.Helper()
	doc := document(tb)
	compiler, err := validation.NewCompiler(doc)
	if err != nil {
		tb.Fatal(err)
	}
	op, err := newOperation(doc, compiler, createPath, "POST", parameterNames(createPath))
	if err != nil {
		tb.Fatal(err)
	}
	if op.decode == nil {
		tb.Fatal("no decoder is generated for CreateUser")
	}
	return op
}

// compareWays decodes a body by the generated decoder and by the document, whose
// values, violations and errors must be the same, and reports whether it is valid.
func compareWays(t *testing.T, op *operation, body string) bool {
	t.Helper()
	general := *op
	general.decode = nil
	var got, want response
	violations, err := op.decodeBody(&got, []byte(body))
	wantViolations, wantErr := general.decodeBody(&want, []byte(body))
	if !slices.Equal(got.unknown, want.unknown) {
		t.Errorf("%q: the decoder has the unknown fields %q, the document %q", body, got.unknown, want.unknown)
	}
	if !slices.Equal(violations, wantViolations) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Errorf("%q: the decoder has %q, %v; the document %q, %v", body, violations, err, wantViolations, wantErr)
	}
	valid := wantErr == nil && len(wantViolations) == 0
	if decoded, ok := got.context.body.(*models.CreateUserRequest); ok != valid {
		t.Errorf("%q: the decoder returned %T, valid: %t", body, got.context.body, valid)
	} else if valid {
		var bound models.CreateUserRequest
		err := runtime.BindJSONValue(want.context.body.(apiserver.JSONBody).Value, &bound)
		for _, secret := range []*registryusers.SecretText{&decoded.Secret, &bound.Secret} {
			if secret.IsZero() {
				*secret = registryusers.SecretText{} // there are two empty ones
			}
		}
		if err != nil || !cmp.Equal(*decoded, bound) {
			t.Errorf("%q: the decoder has %+v with the secret %q, the document %+v with %q, %v", body, *decoded, decoded.Secret.Reveal(), bound, bound.Secret.Reveal(), err)
		}
	}
	return valid
}

// bodies are seeds, and values that randomBody makes bodies of.
var bodies = []string{
	`{"name":"user1","duration":14,"read_only":true,"secret":"s"}`, `{"name":"USER1","duration":400}`, `{"duration":1.4e1,"name":""}`,
	`{"n\u0061me":"a","duration":1}`, `{"name":"a","name":"b","duration":1}`, `{"name":"a","duration":1,"more":[{"a":[1e999999]}]}`,
	`{"name":"\u0061","duration":1,"secret":"\ud834\udd1e\u0000"}`, `{"name":null,"duration":[],"read_only":{},"secret":1.5}`,
	`[]`, `null`, ``, ` `, `{`, `{}`, `{}{}`, "\ufeff{}", "{\"secret\":\"\xff\"}", `{"secret":"\ud800"}`, `{"duration":365.5,"name":"a"}`,
	`{"duration":-1.5}`, `{"name":"a","duration":9007199254740992}`, `{"name":"a","duration":14.0000000000000000000001}`, `"m0rk3r"`, `[{"name":"a"}]`,
	`{"name":"a","duration":1,"x":{"y":[1,{"z":null}],"y":1}}`, `{"name":[{"a":1e400}],"duration":1}`, `{"":1,"name":"a","duration":1}`,
	`{"name":"a","readonly":true,"duration":1,"a\n":1,"B":{"name":1},"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"` + strings.Repeat("é", 40) + `":1}`,
}

func FuzzBodies(f *testing.F) {
	for _, body := range bodies {
		f.Add(body)
	}
	op := newCreate(f)
	f.Fuzz(func(t *testing.T, body string) { compareWays(t, op, body) })
}

// randomBody returns a body that the document nearly accepts.
func randomBody(rng *rand.Rand) string {
	pick := func(all ...string) string { return all[rng.IntN(len(all))] }
	values := []string{"null", "true", "false", "0", "-0", "-1", "1", "14", "365", "366", "-2", "1.5", "14.0", "1.4e1", "3650e-1", "365.5", "-1.5", "1e400", "9007199254740992", "1e-400",
		`""`, `"a"`, `"0123456789abcdef"`, `"0123456789abcdefg"`, `"A"`, `"a\n"`, `"\u0061"`, `"é"`, `"\ud834\udd1e"`, `"\ud834"`, "\"\xff\"", "[]", "{}", `[1,{"a":[]}]`, `{"a":1,"a":2}`, "[", "tru"}
	likely := map[string][]string{"name": {`"user1"`, `""`, `"\u0061"`, `"A"`}, "duration": {"14", "1.4e1", "-1", "365", "366"}, "read_only": {"true", "false"}, "secret": {`"s"`, `""`, `"\n"`}}
	var fields []string
	for _, name := range []string{"name", "duration", "read_only", "secret", "more", "Name"} {
		if rng.IntN(5) == 0 && name != "more" || len(name) == 4 && name != "name" && rng.IntN(3) > 0 {
			continue
		}
		value := pick(values...)
		if likely[name] != nil && rng.IntN(6) > 0 {
			value = pick(likely[name]...)
		}
		if rng.IntN(20) == 0 {
			name = fmt.Sprintf(`\u%04x`, name[0]) + name[1:]
		}
		fields = append(fields, pick("", " ")+`"`+name+`":`+pick("", "\t")+value)
	}
	rng.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	text := "{" + strings.Join(fields, ",") + "}"
	if rng.IntN(15) == 0 {
		at := rng.IntN(len(text))
		text = text[:at] + pick("", "\x00", ",", "}", "\"", "0", "{}", "\ufeff", `\`) + text[at+rng.IntN(2):]
	}
	return text
}

func TestTheGeneratedDecoderAgreesWithTheDocument(t *testing.T) {
	op := newCreate(t)
	for _, body := range bodies {
		compareWays(t, op, body)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	const runs = 100_000
	valid := 0
	for range runs {
		if compareWays(t, op, randomBody(rng)) {
			valid++
		}
		if t.Failed() {
			return
		}
	}
	if valid < runs/20 || valid > runs-runs/20 {
		t.Errorf("valid bodies: got %d of %d, want between 5 and 95 in a hundred", valid, runs)
	}
}

// A response that is encoded by generated code is the JSON of encoding/json.
func TestTheGeneratedEncoderAgreesWithEncodingJSON(t *testing.T) {
	for _, secret := range []string{"", "s", "\x00\x7f", `"\`, "é\U0001F511", "a\xffb"} {
		s := newService(t, created)
		text, err := json.Marshal(map[string]any{"name": "a", "duration": 1, "secret": secret})
		if err != nil {
			t.Fatal(err)
		}
		w := s.send(call{body: strings.NewReader(string(text))})
		var got, again map[string]any
		var user models.CreatedUser
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || json.Unmarshal(w.Body.Bytes(), &user) != nil {
			t.Fatalf("secret %q: got %d %s, want a user", secret, w.Code, w.Body)
		}
		standard, err := json.Marshal(user)
		if err != nil || json.Unmarshal(standard, &again) != nil || !reflect.DeepEqual(got, again) {
			t.Errorf("secret %q: got %s, want as encoding/json %s (%v)", secret, w.Body, standard, err)
		}
	}
}
