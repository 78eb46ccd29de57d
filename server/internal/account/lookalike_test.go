package account

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// An address that a person can take for that of another user gets no account, unless the operator
// wants it.
func TestLookAlikes(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		add := func(email string) error {
			_, err := h.Add(t.Context(), NewUser{Email: email, Password: other}, store.EventRegistered, here)
			return err
		}
		for _, email := range []string{"ivan@example.com", "paul@b\u00fccher.example", "j\u1ecd@example.com", "jose@example.com", "\u0436@example.com"} {
			must(t, add(email))
		}
		for _, c := range []struct {
			name, email string
			want        error
		}{
			{"Cyrillic letter in the local part", "\u0430da@example.com", store.ErrLookAlike},
			{"Cyrillic letter in the domain", "ada@\u0435xample.com", store.ErrLookAlike},
			{"Greek letter", "iv\u03b1n@example.com", store.ErrLookAlike},
			{"dotless i", "\u0131van@example.com", store.ErrLookAlike},
			{"i with a second dot", "i\u0307van@example.com", store.ErrLookAlike},
			{"capital I with dot", "\u0130van@example.com", store.ErrLookAlike},
			{"capital I for l", "pauI@b\u00fccher.example", store.ErrLookAlike},
			{"capital I for l before an ideographic full stop", "ada@exampIe\u3002com", store.ErrLookAlike},
			{"capital I for l before a half width full stop", "ada@exampIe\uff61com", store.ErrLookAlike},
			{"capital I for l, IDNA form of the domain", "pauI@xn--bcher-kva.example", store.ErrLookAlike},
			{"capital I for l, IDNA form with capitals", "pauI@XN--BCHER-KVA.example", store.ErrLookAlike},
			{"digit for l", "pau1@b\u00fccher.example", store.ErrLookAlike},
			{"a mark twice", "j\u1ecd\u0323@example.com", store.ErrLookAlike},
			{"modifier letter", "\u1d43da@example.com", store.ErrEmailTaken}, // NFKC
			{"IDNA form of the domain", "paul@xn--bcher-kva.example", store.ErrEmailTaken},
			{"ideographic full stop", "ada@example\u3002com", store.ErrEmailTaken},
			{"half width full stop", "ada@example\uff61com", store.ErrEmailTaken},
			{"braille blank", "a\u2800da@example.com", durward.InvalidRequest},
			{"musical symbol without ink", "a\U0001d159da@example.com", durward.InvalidRequest},
			{"object replacement character", "a\ufffcda@example.com", durward.InvalidRequest},
			{"IDNA form of nothing", "ada@xn--a.example", durward.InvalidRequest},
			{"scripts of two directions", "a1\u05e9\u05dc\u05d5\u05dd@example.com", durward.InvalidRequest},
			{"an accent that people see", "jos\u00e9@example.com", nil},
			{"another domain", "ada@example.org", nil},
			{"another letter", "\u0448@example.com", nil},
		} {
			err := add(c.email)
			if !errors.Is(err, c.want) || c.want != nil && err == nil {
				t.Errorf("%s: %q: got %v, want %v", c.name, c.email, err, c.want)
			}
			if errors.Is(c.want, store.ErrLookAlike) && !errors.Is(err, durward.EmailTaken) {
				t.Errorf("%s: got %v, want the refusal of an address that is taken", c.name, err)
			}
		}
		if ids, err := h.DB.LookAlikes(t.Context()); err != nil || len(ids) != 0 {
			t.Errorf("LookAlikes: got %q, %v, want none", ids, err)
		}
		u, err := h.Add(t.Context(), NewUser{Email: "\u0430da@example.com", Password: other, LookAlike: true}, store.EventUserAdded, here)
		must(t, err)
		ids, err := h.DB.LookAlikes(t.Context())
		if want := []string{u.ID, h.ada.ID}; err != nil || len(ids) != 2 || !slices.Contains(ids, want[0]) || !slices.Contains(ids, want[1]) {
			t.Errorf("LookAlikes: got %q, %v, want %q", ids, err, want)
		}
	})
}

// The users of an older version sign in as before, and no new address looks like one of theirs.
func TestLookAlikesOfOlderUsers(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		for _, email := range []string{"eve@xn--bcher-kva.example", "a\u2800b@example.com", "eve@example\u3002com"} {
			u := store.User{ID: store.NewID(), Email: email, EmailKey: fold(email), Password: h.ada.Password}
			must(t, h.DB.CreateUser(t.Context(), u, nil, false, here.Event(store.EventUserAdded, "ok", u.ID, "", h.clock.Now())))
			if p, err := h.Authenticate(t.Context(), email, adaPassword, here); err != nil || p.User.ID != u.ID {
				t.Errorf("sign-in as %q: got user %q, %v", email, p.User.ID, err)
			}
		}
		must(t, h.IndexEmails(t.Context()))
		for _, email := range []string{"eve@b\u00fccher.example", "\u0435ve@xn--bcher-kva.example", "a\u2800b@example.com", "\u0435ve@example.com"} {
			if _, err := h.Add(t.Context(), NewUser{Email: email, Password: other}, store.EventRegistered, here); err == nil {
				t.Errorf("%q: a second account, want a refusal", email)
			}
		}
	})
}

// Two addresses with a common skeleton are never two accounts.
func TestLookAlikesProperty(t *testing.T) {
	t.Parallel()
	h := newEnv(t, testkit.SQLite)
	dots := strings.NewReplacer("\u3002", ".", "\uff61", ".", "\uff0e", ".")
	const letters = "aIl1\uff61\uff0e\u0430\u0131i\u0130o0O\u043e\u03bfmrn.\u3002\u00e9e\u0301\u0307\uff21\u0430\u1d0f"
	part := rapid.StringOfN(rapid.RuneFrom([]rune(letters)), 1, 4, -1)
	added := make(map[string]string) // skeleton to address
	rapid.Check(t, func(t *rapid.T) {
		email := part.Draw(t, "local") + "@" + part.Draw(t, "domain")
		_, err := h.Add(h.t.Context(), NewUser{Email: email, Password: other}, store.EventRegistered, here)
		if err != nil {
			if !errors.Is(err, durward.EmailTaken) && !errors.Is(err, durward.InvalidRequest) {
				t.Fatalf("%q: %v", email, err)
			}
			return
		}
		_, key, _ := canonicalEmail(email)
		for _, s := range append(skeletons(email, key), unicodeSkeleton(dots.Replace(email))) {
			if old, taken := added[s]; taken && old != email {
				t.Fatalf("%q and %q are two accounts with the skeleton %q", old, email, s)
			}
			added[s] = email
		}
	})
}

// A change of the table confusables.txt needs another skeletonVersion.
func TestSkeletonVersion(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if to, ok := confusables()[r]; ok {
			fmt.Fprintf(&all, "%c %s|", r, to)
		}
	}
	sum := sha256.Sum256([]byte(all.String()))
	if got, want := skeletonVersion+" "+hex.EncodeToString(sum[:8]), "2 6815c9065e9c9b0a"; got != want {
		t.Errorf("table: got %q, want %q; change both skeletonVersion and the sum here", got, want)
	}
}
