package loopback

import "testing"

func TestHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost":         true,
		"LocalHost":         true,
		"127.0.0.1":         true,
		"127.9.9.9":         true,
		"::1":               true,
		"::ffff:127.0.0.1":  true,
		"localhost.":        false,
		"app.localhost":     false,
		"localhost.example": false,
		"127.1":             false,
		"127.0.0.1.example": false,
		"0.0.0.0":           false,
		"::":                false,
		"192.0.2.1":         false,
		"":                  false,
	} {
		if got := Host(host); got != want {
			t.Errorf("Host(%q) = %v, want %v", host, got, want)
		}
	}
}
