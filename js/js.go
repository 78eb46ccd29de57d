// Package js holds the browser module durward.js, its types and the sample application that uses it.
// A server embeds and serves the files as they are; npm publishes the same files.
package js

import (
	"embed"
	"io/fs"
)

// Module is durward.js, an ES module without imports.
//
//go:embed durward.js
var Module []byte

// Types is durward.d.ts, the TypeScript types of Module.
//
//go:embed durward.d.ts
var Types []byte

//go:embed demo
var demo embed.FS

// Demo returns the files of the sample application by name, such as index.html. A server serves them in
// one folder, and Module and the API in the folder above.
func Demo() map[string][]byte {
	files := make(map[string][]byte)
	entries, err := fs.ReadDir(demo, "demo")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	for _, e := range entries {
		if files[e.Name()], err = demo.ReadFile("demo/" + e.Name()); err != nil {
			panic(err)
		}
	}
	return files
}
