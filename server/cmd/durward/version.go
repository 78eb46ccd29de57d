package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionVerb struct{ output }

func (v versionVerb) Run(e *environment) error {
	version, revision := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	if v.JSON {
		return e.json(map[string]string{"version": version, "revision": revision, "go": runtime.Version()})
	}
	fmt.Fprintf(e.stdout, "durward %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
