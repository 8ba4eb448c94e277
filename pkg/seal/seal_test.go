package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/seal"
)

// stored is "secret", sealed under "row" with key 1 when the form was fixed.
const stored = "v1.72cd6e84.vWS4WCJu6EXWlG8d00RFsPUE6N9YA1GbNKtUKpDo3cetVg=="

func TestKeyring_opensWhatIsStored(t *testing.T) {
	t.Parallel()
	if got, err := ring(t, 2, 1).Open(stored, "row"); err != nil || string(got) != "secret" {
		t.Errorf("opened %q, %v, want what was sealed by an earlier version", got, err)
	}
}

func encodedKey(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32))
}

func ring(t testing.TB, keys ...byte) seal.Keyring {
	t.Helper()
	texts := make([]string, len(keys))
	for i, b := range keys {
		texts[i] = encodedKey(b)
	}
	r, err := seal.ParseKeys(strings.Join(texts, ","))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sealed(t testing.TB, r seal.Keyring, plaintext string, aad ...string) string {
	t.Helper()
	s, err := r.Seal([]byte(plaintext), aad...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKeyring_roundTrip(t *testing.T) {
	t.Parallel()
	r := ring(t, 1)
	form := regexp.MustCompile(`^v1\.[0-9a-f]{8}\.[A-Za-z0-9+/]+=*$`)
	for _, plaintext := range []string{"", "whsec_x", strings.Repeat("é\x00", 10_000)} {
		s := sealed(t, r, plaintext, "tenant", "webhook", "column")
		if !form.MatchString(s) {
			t.Errorf("sealed form = %q", s)
		}
		got, err := r.Open(s, "tenant", "webhook", "column")
		if err != nil || string(got) != plaintext {
			t.Errorf("opened %d bytes, error %v, want %d bytes", len(got), err, len(plaintext))
		}
		if again := sealed(t, r, plaintext, "tenant", "webhook", "column"); again == s {
			t.Error("sealing twice gave the same value")
		}
	}
}

func TestKeyring_valueBelongsToItsRow(t *testing.T) {
	t.Parallel()
	r := ring(t, 1)
	s := sealed(t, r, "secret", "t1", "whk_1", "secrets")
	for _, aad := range [][]string{
		{"t2", "whk_1", "secrets"}, {"t1", "whk_2", "secrets"}, {"t1", "whk_1", "headers"},
		{"t1w", "hk_1", "secrets"}, {"t1", "whk_1secrets"}, {"t1", "whk_1", "secrets", ""}, {"", "t1", "whk_1", "secrets"}, nil,
	} {
		if _, err := r.Open(s, aad...); !errors.Is(err, seal.ErrTampered) {
			t.Errorf("opening under %q: error = %v, want %v", aad, err, seal.ErrTampered)
		}
	}
}

func TestKeyring_rotation(t *testing.T) {
	t.Parallel()
	before, during, after := ring(t, 1), ring(t, 2, 1), ring(t, 2)
	old := sealed(t, before, "secret", "row")
	if before.NeedsReseal(old) || !during.NeedsReseal(old) {
		t.Error("NeedsReseal: want false with the old ring, true with a new first key")
	}
	if ids := during.IDs(); len(ids) != 2 || ids[1] != strings.Split(old, ".")[1] || ids[0] != after.IDs()[0] {
		t.Errorf("ids = %v, want the ring's order, and those that sealed values name", ids)
	}
	plaintext, err := during.Open(old, "row")
	if err != nil {
		t.Fatal(err)
	}
	renewed := sealed(t, during, string(plaintext), "row")
	if during.NeedsReseal(renewed) {
		t.Error("a value sealed anew needs resealing")
	}
	if _, err := after.Open(renewed, "row"); err != nil {
		t.Errorf("opening after rotation: %v", err)
	}
	_, err = after.Open(old, "row")
	if id := strings.Split(old, ".")[1]; !errors.Is(err, seal.ErrUnknownKey) || !strings.Contains(err.Error(), id) {
		t.Errorf("error = %v, want one that names key %s", err, id)
	}
}

func TestKeyring_refusesWhatWasChanged(t *testing.T) {
	t.Parallel()
	r := ring(t, 1)
	good := sealed(t, r, "secret", "row")
	for i := range good {
		for _, c := range []byte{'A', 'f', '.', 0} {
			if good[i] == c {
				continue
			}
			bad := good[:i] + string(c) + good[i+1:]
			if got, err := r.Open(bad, "row"); err == nil {
				t.Fatalf("Open took %q for %q and gave %q", bad, good, got)
			}
		}
	}
	for _, bad := range []string{"", "v1", "v1.", "v1..", "v2" + good[2:], good[:12], good[:20], good + "A", good + "\n", "v1.zzzzzzzz.AAAA"} {
		if _, err := r.Open(bad, "row"); err == nil {
			t.Errorf("Open took %q", bad)
		}
		r.NeedsReseal(bad)
	}
}

func TestParseKeys_refuses(t *testing.T) {
	t.Parallel()
	good := encodedKey(1)
	for csv, want := range map[string]string{
		"":                       "key 1 is empty",
		good + ",":               "key 2 is empty",
		good + ",@@":             "key 2 is not standard base64",
		"c2hvcnQ=":               "key 1 has 5 bytes, want 32",
		good + ", " + good:       "key 2 repeats key 1",
		strings.Trim(good, "=#"): "key 1 is not standard base64",
	} {
		_, err := seal.ParseKeys(csv)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "c2hvcnQ") {
			t.Errorf("the error %q repeats the key", err)
		}
	}
	if _, err := (seal.Keyring{}).Seal(nil); err == nil {
		t.Error("an empty keyring sealed")
	}
}

func TestKeyring_printsNothing(t *testing.T) {
	t.Parallel()
	r := ring(t, 'K')
	type outer struct {
		Ring  seal.Keyring
		inner seal.Keyring
	}
	o := outer{r, r}
	text, err := json.Marshal(map[string]any{"ring": r, "outer": o})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("keys", "ring", r, "outer", o)
	var all strings.Builder
	all.WriteString(fmt.Sprint(r, o) + string(text) + log.String())
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&all, format, r)
		fmt.Fprintf(&all, format, o)
	}
	for _, leak := range []string{"KKKK", "4b4b4b", "75 75 75", encodedKey('K')[:8]} {
		if strings.Contains(all.String(), leak) {
			t.Errorf("printing shows %q in %s", leak, all.String())
		}
	}
	if fmt.Sprint(r) != "[redacted]" {
		t.Errorf("Sprint = %s", fmt.Sprint(r))
	}
}

func TestKeyring_concurrentUse(t *testing.T) {
	t.Parallel()
	r := ring(t, 1, 2)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				want := fmt.Sprint(i, j)
				s, err := r.Seal([]byte(want), want)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := r.Open(s, want); err != nil || string(got) != want {
					t.Errorf("opened %q, %v, want %q", got, err, want)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzOpen(f *testing.F) {
	r := ring(f, 1)
	f.Add(stored)
	f.Add("v1.00000000.")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := r.Open(s, "row"); err == nil && s != stored {
			t.Fatalf("Open took %q", s)
		}
	})
}
