package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSilent diagnoses refusals that give little or no reason: the form of the request, the
// challenge, earlier exchanges and the product have to show the cause. In testdata/silent/*.txt a
// line "== CAUSE; PRODUCT; SOURCE" stands before the text of the input. The cause has to be first;
// of several causes, separated by commas, one. With ? before it, the input does not show the cause:
// it has to be within the first three, and the verdict not certain. The environment variable
// DOCTOR_REFUSALS names another folder to read.
func TestSilent(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/silent/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("testdata/silent: %d files, %v", len(paths), err)
	}
	if dir := os.Getenv("DOCTOR_REFUSALS"); dir != "" {
		if paths, err = filepath.Glob(dir + "/*.txt"); err != nil {
			t.Fatal(err)
		}
	}
	shown, first, within, hidden, among := 0, 0, 0, 0, 0
	for _, path := range paths {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split("\n"+string(file), "\n== ")[1:] {
			title, text, _ := strings.Cut(block, "\n")
			list, _, _ := strings.Cut(title, ";")
			list, open := strings.CutPrefix(list, "?")
			causes := strings.Split(list, ",")
			for _, id := range causes {
				if _, ok := CauseByID(id); !ok {
					t.Errorf("%s: no cause is called %q: %s", path, id, title)
				}
			}
			c, err := Read(strings.NewReader(text), Options{})
			if err != nil {
				t.Errorf("%s: %s: %v", path, title, err)
				continue
			}
			r := Diagnose(c, At(testTime))
			rank := slices.IndexFunc(r.Causes, func(f Finding) bool { return slices.Contains(causes, f.ID) })
			in3 := rank >= 0 && rank < 3
			if open {
				hidden++
				if in3 {
					among++
				}
			} else {
				shown++
				if rank == 0 {
					first++
				}
				if in3 {
					within++
				}
			}
			if !in3 || rank > 0 && !open || open && r.Verdict == Certain {
				t.Errorf("%s: %s\n%s%s\n%s", path, title, text, r.Verdict, causesOf(r))
			}
		}
	}
	t.Logf("shown: %d, first %d, within three %d; hidden: %d, within three %d", shown, first, within, hidden, among)
}
