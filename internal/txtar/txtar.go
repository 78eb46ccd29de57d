// Package txtar reads and writes files that hold several texts, for tests, in the format of
// golang.org/x/tools/txtar: each text stands below a line "-- name --".
package txtar

import (
	"bytes"
	"os"
	"strings"
)

// Archive is the content of a file.
type Archive struct {
	Comment []byte // before the first text
	Files   []File
}

// File is one text of an archive.
type File struct {
	Name string
	Data []byte
}

// ParseFile reads the archive of a file.
func ParseFile(name string) (*Archive, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return Parse(data), nil
}

// Parse reads an archive. Each line of data belongs to the comment or to a text, and each text ends with a line end.
func Parse(data []byte) *Archive {
	a := new(Archive)
	into := &a.Comment
	for line := range bytes.Lines(data) {
		if name := nameOf(line); name != "" {
			a.Files = append(a.Files, File{Name: name, Data: []byte{}})
			into = &a.Files[len(a.Files)-1].Data
			continue
		}
		*into = append(*into, line...)
		if !bytes.HasSuffix(line, []byte("\n")) {
			*into = append(*into, '\n')
		}
	}
	return a
}

// nameOf returns the name in a line "-- name --", and an empty string for any other line.
func nameOf(line []byte) string {
	text, ok := strings.CutPrefix(strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), "-- ")
	if !ok {
		return ""
	}
	if text, ok = strings.CutSuffix(text, " --"); !ok {
		return ""
	}
	return strings.TrimSpace(text)
}

// Format writes an archive that Parse reads.
func Format(a *Archive) []byte {
	var b bytes.Buffer
	text := func(data []byte) {
		b.Write(data)
		if len(data) > 0 && data[len(data)-1] != '\n' {
			b.WriteByte('\n')
		}
	}
	text(a.Comment)
	for _, f := range a.Files {
		b.WriteString("-- " + f.Name + " --\n")
		text(f.Data)
	}
	return b.Bytes()
}
