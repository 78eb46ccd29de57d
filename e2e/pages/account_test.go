package pages_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// screens checks the page at path with axe-core. With SCREENS=1 it writes screenshots in both languages, too.
func (b spaTab) screens(f *front, name, path string) {
	b.Helper()
	if os.Getenv("SCREENS") == "" {
		do(b, chromedp.Navigate(f.url+path))
		b.sees(`document.querySelector("h1")`)
		b.accessible(name)
		return
	}
	for _, language := range []string{"de", "en"} {
		do(b, chromedp.Navigate(f.url+path+map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")]+"ui_locales="+language))
		b.sees(`document.documentElement.lang === "` + language + `" && document.querySelector("h1")`)
		b.capture(name, language)
	}
	b.accessible(name)
}

// capture writes screenshots of the page as it is, if SCREENS is set: phone and desktop, light and dark.
func (b spaTab) capture(name, language string) {
	b.Helper()
	if os.Getenv("SCREENS") == "" {
		return
	}
	dir := filepath.Join("..", "..", ".build", "screens")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	for size, width := range map[string]int64{"phone": 360, "desktop": 1280} {
		for _, theme := range []string{"light", "dark"} {
			if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
			}); err != nil {
				b.Fatal(err)
			}
			do(b, chromedp.EmulateViewport(width, 800))
			image := do(b, chromedp.FullScreenshot(100))
			if err := os.WriteFile(filepath.Join(dir, name+"-"+size+"-"+theme+"-"+language+".png"), image, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	do(b, chromedp.EmulateViewport(1280, 800))
}

// login signs in at the sign-in page and waits for the account.
func (b spaTab) login(f *front) {
	b.Helper()
	do(b, chromedp.Navigate(f.url+"/login"))
	b.sees(`document.getElementById("password")`)
	do(b, chromedp.SendKeys("#email", "ada@example.com"))
	do(b, chromedp.SendKeys("#password", "correct horse battery staple"))
	b.press("button.main")
}

// passkeyDevice adds a virtual authenticator with a present and verified user to the tab.
func (b spaTab) passkeyDevice() {
	b.Helper()
	if _, err := chromedp.Call(b.ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		b.Fatal(err)
	}
	_, err := chromedp.Call(b.ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
		Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol:                    webauthn.AuthenticatorProtocolCtap2,
			Transport:                   webauthn.AuthenticatorTransportInternal,
			HasResidentKey:              true,
			HasUserVerification:         true,
			IsUserVerified:              true,
			AutomaticPresenceSimulation: true,
		},
	})
	if err != nil {
		b.Fatal(err)
	}
}

// press waits for a button or a link and clicks it. The page may be about to change.
func (b spaTab) press(selector string) {
	b.Helper()
	b.sees(`document.readyState === "complete" && document.querySelector("` + selector + `")`)
	b.sees(`(document.querySelector("` + selector + `").click(), true)`)
}

// says waits for the notice of a form that was done.
func (b spaTab) says(text string) {
	b.Helper()
	b.sees(`document.querySelector(".notice")?.textContent === "` + text + `"`)
}

// code returns the code of an authenticator app, steps of 30 seconds from now (RFC 6238).
func code(t *testing.T, seed string, steps int64) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ReplaceAll(seed, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	_ = binary.Write(mac, binary.BigEndian, time.Now().Unix()/30+steps)
	sum := mac.Sum(nil)
	at := sum[19] & 15
	return fmt.Sprintf("%06d", (binary.BigEndian.Uint32(sum[at:])&0x7fffffff)%1_000_000)
}

// TestAccountInChromium lives the life of an account in a browser: name, authenticator app, recovery codes, a
// sign-in with the app, one with a passkey alone, a key for a program, and the deletion.
func TestAccountInChromium(t *testing.T) {
	t.Parallel()
	needAxe(t)
	open := chromium(t)
	f := newFront(t, "")
	b := open()
	b.passkeyDevice()
	b.login(f)
	b.sees(`location.pathname === "/account"`)
	b.screens(f, "account", "/account")
	do(b, chromedp.Navigate(f.url+"/account/profile"))
	do(b, chromedp.Clear("#name"))
	do(b, chromedp.SendKeys("#name", "Ada Lovelace"))
	b.press("button.main")
	b.says("Your name is saved.")
	b.screens(f, "account-profile", "/account/profile?done=renamed")
	b.screens(f, "account-email", "/account/email")
	do(b, chromedp.Navigate(f.url+"/account/password"))
	do(b, chromedp.SendKeys("#current", "not the right one"))
	do(b, chromedp.SendKeys("#new", "short"))
	b.press("button.main")
	b.sees(`document.querySelector("#new[aria-invalid]") && document.activeElement.classList.contains("summary")`)
	b.capture("account-password-wrong", "en")
	b.accessible("account-password-wrong")

	// An authenticator app and recovery codes.
	b.screens(f, "account-authenticator", "/account/authenticator")
	b.press("main button.main")
	b.sees(`document.querySelector("img.qr")?.complete`)
	seed := b.script(`document.getElementById("secret").textContent`)
	b.capture("account-authenticator-confirm", "en")
	b.accessible("account-authenticator-confirm")
	do(b, chromedp.SendKeys("#code", code(t, seed, 0)))
	b.says("Your app is set up. Now make recovery codes.")
	b.press("main button.main")
	b.says("You have new recovery codes.")
	if n := b.script(`document.getElementById("secret").textContent.trim().split("\n").length`); n != "10" {
		t.Errorf("%s recovery codes, want 10", n)
	}
	b.capture("account-recovery-codes", "en")
	b.accessible("account-recovery-codes")

	// Sign out, sign in with the app, add a passkey.
	b.press("header button")
	b.sees(`location.pathname === "/signed-out"`)
	b.login(f)
	b.sees(`location.pathname === "/login/factor" && document.getElementById("code")`)
	do(b, chromedp.SendKeys("#code", code(t, seed, 1)))
	b.script(`document.querySelector("main button.main")?.click()`)
	b.sees(`location.pathname === "/account"`)
	do(b, chromedp.Navigate(f.url+"/account/passkeys"))
	b.press("#add button")
	b.says("The passkey is added.")
	b.screens(f, "account-passkeys", "/account/passkeys")
	b.press("main .items a")
	b.sees(`document.getElementById("name")`)
	b.capture("account-passkey", "en")
	b.accessible("account-passkey")
	do(b, chromedp.Clear("#name"))
	do(b, chromedp.SendKeys("#name", "My laptop"))
	b.press("button.main")
	b.says("The passkey is renamed.")
	b.press("#add button")
	b.sees(`document.getElementById("add-failed").textContent === "This device has a passkey for your account already."`)

	// Sign in with the passkey alone: the device of this browser offers it at the field of the address.
	b.press("header button")
	b.sees(`location.pathname === "/signed-out"`)
	do(b, chromedp.Navigate(f.url+"/login"))
	b.sees(`location.pathname === "/account"`)

	// A key for a program, shown once.
	b.screens(f, "account-key-new", "/account/keys/new")
	do(b, chromedp.SendKeys("#name", "Backup"))
	b.press("main button.main")
	b.says("The key is made.")
	b.sees(`document.getElementById("secret").textContent.startsWith("dk_")`)
	b.capture("account-keys", "en")
	b.accessible("account-keys")
	b.press("main .items a")
	b.sees(`document.querySelector("button.danger")`)
	b.capture("account-key", "en")
	b.screens(f, "account-sessions", "/account/sessions")
	b.screens(f, "account-activity", "/account/activity")
	b.screens(f, "account-data", "/account/data")

	// Delete the account.
	b.screens(f, "account-delete", "/account/delete")
	do(b, chromedp.SendKeys("#email", "ada@example.com"))
	b.press("main button.danger")
	b.sees(`location.pathname === "/signed-out"`)
	do(b, chromedp.Navigate(f.url+"/account"))
	b.sees(`location.pathname === "/login"`)
}
