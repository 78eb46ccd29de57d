package securitylog

import "testing"

func TestDenialID(t *testing.T) {
	t.Parallel()
	const id = "01JE9ZQ6V7M8N9P0Q1R2S3T4V5"
	const other = "01JE9ZQ6V7M8N9P0Q1R2S3T4V6"
	for text, want := range map[string]string{
		id:                           id,
		" " + id + "\n":              id,
		"01je9zq6v7m8n9p0q1r2s3t4v5": id,
		"urn:durward:denial:" + id:   id,
		"HTTP/1.1 401 Unauthorized\r\nX-Request: " + other + "\r\nDurward-Denial: " + id + "\r\n\r\n{}":                    id,
		"< durward-denial: " + id + "\n< content-length: 5":                                                                id,
		`{"trace":"` + other + `","type":"about:blank","instance":"urn:durward:denial:` + id + `","code":"TOKEN_EXPIRED"}`: id,
		`"durward-denial": "` + id + `"`: id,
		"the page said " + id + ", why?": id,
		"8" + id[1:]:                     "8" + id[1:], // no ULID
		"x" + id:                         "x" + id,
		"":                               "",
		" nothing here ":                 "nothing here",
	} {
		if got := DenialID(text); got != want {
			t.Errorf("DenialID(%q): got %q, want %q", text, got, want)
		}
	}
}
