// Package chromium starts Chromium for tests.
package chromium

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// Need skips the test without Chromium; with CI set, the test fails.
func Need(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil && os.Getenv("CI") != "" {
		t.Fatal("chromium is not installed: apt-get install --no-install-recommends chromium")
	} else if err != nil {
		t.Skip("SKIPPED: chromium is not installed")
	}
}

// Start starts a headless Chromium with a home folder, a folder for profiles and further options, until stop is called.
func Start(home, profiles string, options ...chromedp.ExecAllocatorOption) (browser context.Context, stop func()) {
	all := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.UserDataDir(profiles),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Env("HOME="+home))
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), append(all, options...)...)
	browser, stopBrowser := chromedp.NewContext(allocator)
	return browser, func() {
		stopBrowser()
		stopAllocator()
	}
}

// StartFor starts a Chromium that ends with the test. It skips or fails the test as Need does.
func StartFor(t *testing.T, home, profiles string, options ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	Need(t)
	browser, stop := Start(home, profiles, options...)
	t.Cleanup(stop)
	return browser
}

// AddAuthenticator gives a tab a virtual authenticator with a present and verified user.
func AddAuthenticator(t *testing.T, tab context.Context) webauthn.AuthenticatorID {
	t.Helper()
	if _, err := chromedp.Call(tab, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	added, err := chromedp.Call(tab, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
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
		t.Fatal(err)
	}
	return added.AuthenticatorID
}
