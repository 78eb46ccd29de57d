// Package js holds the browser module durward.js, its types and the sample application that uses it.
// A server embeds and serves the files as they are; npm publishes the same files.
package js

import _ "embed"

// Module is durward.js, an ES module without imports.
//
//go:embed durward.js
var Module []byte

// Types is durward.d.ts, the TypeScript types of Module.
//
//go:embed durward.d.ts
var Types []byte
