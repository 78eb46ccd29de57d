package txtar

import (
	"bytes"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	a := Parse([]byte("a comment\n--no name\n-- a --\none\n\n--  b.txt  --\r\n-- c --\n-- --\nlast"))
	want := []File{{"a", []byte("one\n\n")}, {"b.txt", nil}, {"c", []byte("-- --\nlast\n")}}
	if string(a.Comment) != "a comment\n--no name\n" || len(a.Files) != len(want) {
		t.Fatalf("got %q", a)
	}
	for i, f := range a.Files {
		if f.Name != want[i].Name || !bytes.Equal(f.Data, want[i].Data) {
			t.Errorf("got %q, want %q", f, want[i])
		}
	}
}

// FuzzParse checks that Format writes what Parse read.
func FuzzParse(f *testing.F) {
	f.Add([]byte("a\n-- b --\nc"))
	f.Add([]byte("-- -- --\n-- a --\r\n--  --\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text := Format(Parse(data))
		if again := Format(Parse(text)); !bytes.Equal(again, text) {
			t.Fatalf("%q becomes %q, and that %q", data, text, again)
		}
	})
}
