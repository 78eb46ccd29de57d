package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// Whatever a server says is a page that can be used, or an error.
func FuzzPage(f *testing.F) {
	good, err := json.Marshal(RevocationPage{Epoch: "e", Next: 7, Items: []Revocation{{Seq: 7, Kind: "jti", Value: "x", At: time.Unix(0, 0).UTC(), Until: time.Unix(9, 0).UTC()}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, int64(0))
	f.Add([]byte(`{"epoch":"e","next":1,"more":true,"items":[]}`), int64(1))
	f.Add([]byte(`{"epoch":"e","next":-1,"items":null}`), int64(0))
	f.Fuzz(func(t *testing.T, body []byte, after int64) {
		p, err := readPage(body, after)
		if err != nil {
			if p.Items != nil || strings.Contains(err.Error(), "\n") || len(err.Error()) > 200 {
				t.Fatalf("%+v with %v", p, err)
			}
			return
		}
		if p.Epoch == "" || p.Next < 0 || p.More && p.Next <= after {
			t.Fatalf("%+v after %d", p, after)
		}
		for _, e := range p.Items {
			if e.Seq <= 0 || e.Kind == "" || e.Value == "" || e.Until.IsZero() {
				t.Fatalf("%+v", e)
			}
		}
	})
}
