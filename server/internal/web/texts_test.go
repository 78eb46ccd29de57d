package web

import (
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// TestTextsInAllLanguages: each language has the same keys, with the same number of values, and no text is empty.
func TestTextsInAllLanguages(t *testing.T) {
	t.Parallel()
	first := texts()[request.Languages[0]]
	for _, language := range request.Languages {
		keys := slices.Sorted(maps.Keys(texts()[language]))
		if want := slices.Sorted(maps.Keys(first)); !slices.Equal(keys, want) {
			for _, key := range want {
				if texts()[language][key] == "" {
					t.Errorf("%s: %s is missing", language, key)
				}
			}
			for _, key := range keys {
				if first[key] == "" {
					t.Errorf("%s: %s is missing in %s", language, key, request.Languages[0])
				}
			}
		}
		for key, found := range texts()[language] {
			if strings.TrimSpace(found) == "" {
				t.Errorf("%s: %s is empty", language, key)
			}
			if got, want := strings.Count(found, "%s"), strings.Count(first[key], "%s"); got != want {
				t.Errorf("%s: %s has %d values, in %s it has %d", language, key, got, request.Languages[0], want)
			}
		}
	}
}

// TestTextsOfEvents: each kind of event that the activity of a user can list has a text.
func TestTextsOfEvents(t *testing.T) {
	t.Parallel()
	ofNoUser := []string{
		store.EventUserDeleted, store.EventStoreWentBack, store.EventClockJumped,
		store.EventKeyCreated, store.EventKeyState, store.EventKeyWithdrawn, store.EventEpochBegun,
		store.EventClientAdded, store.EventClientChanged, store.EventClientDisabled, store.EventClientEnabled, store.EventClientDeleted,
		store.EventClientSecretAdded, store.EventClientSecretRemoved,
	}
	for _, kind := range store.EventKinds() {
		if texts()["en"]["event."+kind] == "" && !slices.Contains(ofNoUser, kind) {
			t.Errorf("no text for the event %s", kind)
		}
	}
}

var (
	action  = regexp.MustCompile(`(?s){{.*?}}`)
	tag     = regexp.MustCompile(`(?s)<[^>]*>`)
	shown   = regexp.MustCompile(`(?:title|alt|aria-label)="[^"]*\p{L}{2,}[^"]*"`)
	letters = regexp.MustCompile(`\p{L}{2,}`)
	usedKey = regexp.MustCompile(`(?:\.T|text\(lang,|text\(language,|text\(p\.Lang,) ?\(?"([a-z0-9_]+\.[A-Za-z0-9_]+)"`)
)

// TestNoTextInTemplates: templates hold no words of their own, and name keys that exist.
func TestNoTextInTemplates(t *testing.T) {
	t.Parallel()
	err := fs.WalkDir(templateFiles, "templates", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		source, err := templateFiles.ReadFile(path)
		if err != nil {
			return err
		}
		for _, key := range usedKey.FindAllStringSubmatch(string(source), -1) {
			if texts()["en"][key[1]] == "" {
				t.Errorf("%s: no text has the key %s", path, key[1])
			}
		}
		text := action.ReplaceAllString(string(source), "")
		for _, found := range shown.FindAllString(text, -1) {
			t.Errorf("%s: text in a template: %s", path, found)
		}
		for _, found := range letters.FindAllString(tag.ReplaceAllString(text, ""), -1) {
			t.Errorf("%s: text in a template: %s", path, found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range templates() {
		t.Log(name)
	}
}
