package web

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/httpapi"
)

// Any body: a refusal that the guard can write, or the fields of the form, each at most once, and the file.
func FuzzUpload(f *testing.F) {
	const most = 1000
	for _, body := range []string{
		"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nemail,hash\r\n--x--\r\n",
		"--x\r\nContent-Disposition: form-data; name=\"format\"\r\n\r\nauth0\r\n--x--\r\n",
		"--x\r\nContent-Disposition: form-data; name=\"format\"\r\n\r\n\xff\r\n--x\r\n\r\n\r\n--x--",
		"--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n" + strings.Repeat("x", most+1) + "\r\n--x--\r\n",
		"--x--", "", "--x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=3D\r\n--x--",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		form, file, err := readUpload(httptest.NewRecorder(), r, "file", most, "format")
		switch {
		case err != nil && (form != nil || file != nil):
			t.Errorf("%q: %v with a form", body, err)
		case err != nil:
			if refusal := httpapi.AsRefusal(err); refusal == nil {
				t.Errorf("%q: %v is no refusal", body, err)
			}
		case len(file) > most:
			t.Errorf("%q: a file of %d octets", body, len(file))
		default:
			for name, values := range form.values {
				if name != "file" && name != "format" || len(values) != 1 {
					t.Errorf("%q: the field %q has the values %q", body, name, values)
				}
			}
		}
	})
}
