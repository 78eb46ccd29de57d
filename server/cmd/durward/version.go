package main

import (
	"runtime"
	"runtime/debug"
)

type versionVerb struct{ output }

func (v versionVerb) Run(e *environment) error {
	version, revision := versionOf(), ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return v.print(e, map[string]string{"version": version, "revision": revision, "go": runtime.Version()},
		"durward %s (%s, %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// versionOf returns the version of the program.
func versionOf() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
