package webhook_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestParseSecret(t *testing.T) {
	t.Parallel()
	encoded := func(n int) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, n)) }
	for name, tc := range map[string]struct {
		text string
		want string
	}{
		"published vector": {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", ""},
		"24 bytes":         {"whsec_" + encoded(24), ""},
		"64 bytes":         {"whsec_" + encoded(64), ""},
		"23 bytes":         {"whsec_" + encoded(23), "secret must be whsec_ followed by base64 of 24 to 64 bytes"},
		"65 bytes":         {"whsec_" + encoded(65), "secret must be whsec_ followed by base64 of 24 to 64 bytes"},
		"nothing":          {"whsec_", "secret must be whsec_ followed by base64 of 24 to 64 bytes"},
		"empty":            {"", "secret must start with whsec_"},
		"no prefix":        {encoded(32), "secret must start with whsec_"},
		"URL alphabet":     {"whsec_" + strings.ReplaceAll(encoded(32), "+", "-"), "secret must be whsec_ followed by standard base64"},
		"no padding":       {"whsec_" + strings.TrimRight(encoded(32), "="), "secret must be whsec_ followed by standard base64"},
		"line break":       {"whsec_" + encoded(30)[:20] + "\n" + encoded(30)[20:], "secret must be whsec_ followed by standard base64"},
		"trailing space":   {"whsec_" + encoded(32) + " ", "secret must be whsec_ followed by standard base64"},
		"stray bits":       {"whsec_" + encoded(31)[:41] + "/==", "secret must be whsec_ followed by standard base64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := webhook.ParseSecret(tc.text)
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got.Reveal() != tc.text {
					t.Errorf("the secret does not read back as it was given")
				}
				return
			}
			if err == nil || err.Error() != tc.want {
				t.Errorf("error = %v, want %s", err, tc.want)
			}
		})
	}
}

// TestI7_secretsDoNotPrint: whatever fmt, slog and json are asked for.
func TestI7_secretsDoNotPrint(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef0123456789abcdef")
	secret, err := webhook.SecretFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	header := webhook.Header{Name: "Authorization", Value: "Bearer hunter2"}
	type hidden struct {
		secret  webhook.Secret
		signing []webhook.SigningSecret
	}
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	logger.Info("x", "secret", secret, "signing", webhook.SigningSecret{Secret: secret}, "header", header, "hidden", hidden{secret, nil})
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", secret, "header", header, "hidden", hidden{secret, nil})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, value := range []any{secret, &secret, hidden{secret, []webhook.SigningSecret{{Secret: secret}}}, []webhook.Secret{secret}} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&out, verb+"\n", []webhook.Header{header})
	}
	marshalled, err := json.Marshal(map[string]any{"a": secret, "b": webhook.SigningSecret{Secret: secret}})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(marshalled)
	for _, leak := range []string{
		string(key), secret.Reveal(), base64.StdEncoding.EncodeToString(key), hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)),
		"48 49 50", "0x30, 0x31", "hunter2", hex.EncodeToString([]byte("hunter2")),
	} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("output contains %q:\n%s", leak, out.String())
		}
	}
	if !strings.Contains(out.String(), "[redacted]") {
		t.Error("nothing says [redacted]")
	}
}

func TestSecret_ownsItsKey(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{1}, 32)
	secret, err := webhook.SecretFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	key[0] = 9
	if secret.Key()[0] != 1 {
		t.Error("the caller's slice is still the key")
	}
	if got := (webhook.Secret{}).Key(); got != nil {
		t.Errorf("key of the zero secret = %v, want nil", got)
	}
}

func TestLive(t *testing.T) {
	t.Parallel()
	make1 := func(b byte) webhook.Secret {
		secret, err := webhook.SecretFromKey(bytes.Repeat([]byte{b}, 32))
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	secrets := []webhook.SigningSecret{
		{Secret: make1(1)},
		{Secret: make1(2), ExpiresAt: instant.Add(time.Second)},
		{Secret: make1(3), ExpiresAt: instant},
		{Secret: make1(4), ExpiresAt: instant.Add(-time.Hour)},
	}
	var got []byte
	for _, secret := range webhook.Live(secrets, instant) {
		got = append(got, secret.Key()[0])
	}
	if diff := cmp.Diff([]byte{1, 2}, got); diff != "" {
		t.Errorf("live secrets (-want +got):\n%s", diff)
	}
}
