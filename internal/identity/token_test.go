package identity

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func TestTokensHaveSwarmsForm(t *testing.T) {
	ca := newCA(t)
	tok := NewToken(ca)
	if !regexp.MustCompile(`^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$`).MatchString(tok.Reveal()) {
		t.Errorf("token %s", tok.Reveal())
	}
	back, err := ParseToken(tok.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if !back.Equal(tok) || back.Equal(NewToken(ca)) {
		t.Error("a token must equal itself and no other")
	}
}

func TestParseTokenRefuses(t *testing.T) {
	good := NewToken(newCA(t)).Reveal()
	for name, s := range map[string]string{
		"empty": "", "no prefix": "SWM" + good, "version": strings.Replace(good, "-1-", "-2-", 1),
		"cut": good[:len(good)-1], "longer": good + "0", "part too many": good + "-x",
		"upper case": strings.ToUpper(good), "unlock key": NewKey().Reveal(),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseToken(s)
			if !errors.Is(err, ErrToken) {
				t.Errorf("ParseToken(%q): %v, want ErrToken", s, err)
			}
		})
	}
}

func FuzzParseToken(f *testing.F) {
	ca, err := NewCA()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(NewToken(ca).Reveal())
	f.Add("SWMTKN-1-abc-def")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err == nil && tok.Reveal() != s {
			t.Errorf("%q was read as %q", s, tok.Reveal())
		}
	})
}

func FuzzParseUnlockKey(f *testing.F) {
	f.Add(NewKey().Reveal())
	f.Add("SWMKEY-1-AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseUnlockKey(s)
		if err == nil && k.Reveal() != s {
			t.Errorf("%q was read as %q", s, k.Reveal())
		}
	})
}

func TestSecretsAreNotPrinted(t *testing.T) {
	key, tok := NewKey(), NewToken(newCA(t))
	secret := tok.Reveal()[len(tok.Reveal())-secretDigits:]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{key, &key, struct{ K Key }{key}} {
			s := fmt.Sprintf(verb, v)
			if !strings.Contains(s, hidden) || strings.Contains(s, fmt.Sprintf("%x", key.b)) {
				t.Errorf("%s of %T prints %s", verb, v, s)
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if s := fmt.Sprintf(verb, tok); strings.Contains(s, secret) {
			t.Errorf("%s of a token prints %s", verb, s)
		}
	}
}

func TestSealBindsToKeyAndObject(t *testing.T) {
	key := NewKey()
	sealed := Seal(key, []byte("hunter2"), "secret.a")
	if got, err := Open(key, sealed, "secret.a"); err != nil || string(got) != "hunter2" {
		t.Fatalf("open: %q, %v", got, err)
	}
	altered := append([]byte(nil), sealed...)
	altered[len(altered)-1] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"another key":    func() ([]byte, error) { return Open(NewKey(), sealed, "secret.a") },
		"another object": func() ([]byte, error) { return Open(key, sealed, "secret.b") },
		"altered":        func() ([]byte, error) { return Open(key, altered, "secret.a") },
		"cut short":      func() ([]byte, error) { return Open(key, sealed[:5], "secret.a") },
	} {
		if got, err := open(); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %q, %v, want ErrSealed", name, got, err)
		}
	}
}

func TestUnlockKeyRoundTrip(t *testing.T) {
	k := NewKey()
	back, err := ParseUnlockKey(k.Reveal())
	if err != nil || !back.Equal(k) {
		t.Fatalf("%s: %v", k.Reveal(), err)
	}
	if _, err := ParseUnlockKey("SWMKEY-1-tooshort"); !errors.Is(err, ErrUnlockKey) {
		t.Errorf("short key: %v", err)
	}
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewID()
		if !isBase36(id, idLength) || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}
