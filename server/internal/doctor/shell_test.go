package doctor

import (
	"bytes"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The parts of the commands that TestShellWordsLikeBash makes. A function p prints what shellWords
// writes for a substitution, and the variable A has what it writes for A.
var shellParts = []string{
	"'", "'", `"`, `"`, `\`, "$", "$'", `$"`, " ", " ", "\t", "\n", "\\\n", "#", " #", ";", "&", "|", "{", "}", "!", "=", "%", "^", ",",
	"a", "b", "ab", "é", "12", "-H", "a=b", "--data=", "https://a/?a=1", "'a b'", `"a b"`, `'\''`,
	`\n`, `\'`, `\"`, `\\`, `\x41`, `\x4`, `\u00e9`, `\U0001F600`, `\101`, `\7`, `\cA`, `\q`, `\e`,
	"$A", "${A}", `"$A"`, "${A:-b}", `${A:-"b}"}`, "${A#b}", "${A/b/b}", "${A:-$A}", `"${A:-"b c"}"`,
	"$(p)", `"$(p)"`, "$(p ')')", `$(p ")" \))`, `"$(p "b" 'c')"`, "`p`", "`p \\`p\\``", "$(p $(p) ${A})",
	" 2>/dev/null ", " </dev/null ", " 2>&1 ", " >/dev/null ", "A=b ",
}

// shellScript reads commands that end with NUL. It prints for each the number of its arguments and
// these, or "error".
const shellScript = `set -f +B
PATH= A='${A}'
p() { printf %s '$(…)'; }
args() { a=("$@"); }
while IFS= read -r -d '' command; do
	a=() A='${A}'
	if eval "args $command" 2>/dev/null; then printf '%s\0' "${#a[@]}" "${a[@]}"; else printf 'error\0'; fi
done`

// splitName matches the name of a variable that goes on in the next line, and a comment behind a
// continued line.
var splitName = regexp.MustCompile(`\$[A-Za-z0-9]*\\\n|\\\n#`)

// otherVariable matches what shellWords writes for a variable that is not A.
var otherVariable = regexp.MustCompile(`\$\{(?:[^A}]|A[^}])`)

// TestShellWordsLikeBash compares the arguments that shellWords reads with those that bash passes,
// over commands that are made at random.
func TestShellWordsLikeBash(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("SKIPPED, NOT TESTED: no bash")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var commands []string
	for len(commands) < 5_000 {
		var b strings.Builder
		for range 1 + random.IntN(8) {
			b.WriteString(shellParts[random.IntN(len(shellParts))])
		}
		command := b.String()
		command = strings.TrimRight(command, "\\") // of a cut command
		end, err := commandLength("args " + command)
		if err != nil {
			continue
		}
		command = ("args " + command)[5:end.at]
		commands = append(commands, command)
	}
	run := exec.Command(bash, "--noprofile", "--norc", "-c", shellScript)
	run.Dir, run.Env = t.TempDir(), []string{"LC_ALL=C.UTF-8"}
	run.Stdin = strings.NewReader(strings.Join(commands, "\x00") + "\x00")
	out, err := run.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := strings.Split(string(bytes.TrimSuffix(out, []byte{0})), "\x00")
	next := func() string {
		if len(answers) == 0 {
			t.Fatal("bash ended early")
		}
		answer := answers[0]
		answers = answers[1:]
		return answer
	}
	valid, failures := 0, 0
	for _, command := range commands {
		var want []string
		count, err := strconv.Atoi(next())
		refused := err != nil
		for range count {
			want = append(want, next())
		}
		words, err := shellWords("args " + command)
		var got []string
		for _, w := range words[min(1, len(words)):] {
			got = append(got, w.text)
		}
		if otherVariable.MatchString(strings.Join(got, " ")) || splitName.MatchString(command) {
			continue // bash has another value, or it joins the lines before it reads the name or the comment
		}
		if strings.Contains(strings.ReplaceAll(command, "`p \\`p\\``", ""), "\\`") {
			continue // a substitution that may hold half of another one prints nothing
		}
		if (err != nil) != refused || !slices.Equal(got, want) {
			if failures++; failures <= 20 {
				t.Errorf("%q: got %q, %v; bash: %q, error: %t", command, got, err, want, refused)
			}
		}
		if err == nil {
			valid++
		}
	}
	if valid < len(commands)/10 {
		t.Errorf("%d of %d commands are valid, want a tenth", valid, len(commands))
	}
}

func TestShellWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		command, want string // the words, each in []; empty for an error
		variable      string // of the last word
	}{
		{`curl "a b" 'c'\''d' $'\x41\t' e\ f`, "[curl][a b][c'd][A\t][e f]", ""},
		{"curl a \\\n  b\\\nc", "[curl][a][bc]", ""},
		{"curl a \\\r\n  b\r\n", "[curl][a][b]", ""},
		{"X=1 Y='2 3' curl a=b # c", "[curl][a=b]", ""},
		{"curl a 2>/dev/null b >c <<<'d e' &>> f", "[curl][a][b]", ""},
		{"curl -o2 >a", "[curl][-o2]", ""},
		{"time curl a", "[time][curl][a]", ""},
		{`curl "${A:-'b}'"`, "[curl][${A}']", "A"},
		{`curl "${A#'"'}"`, "[curl][${A}]", "A"},
		{"curl ${#A} $1", "[curl][${A}][${1}]", "1"},
		{"curl $(a 'b)' \"c)\" (d))e", "[curl][$(\u2026)e]", "command"},
		{"curl x$((1+(2)))", "[curl][x$(\u2026)]", "command"},
		{"curl <(a b) `c \\`d\\``", "[curl][$(\u2026)][$(\u2026)]", "command"},
		{"curl $ a$", "[curl][$][a$]", ""},
		{"curl 'a", "", ""},
		{`curl "a`, "", ""},
		{`curl $'a\'`, "", ""},
		{"curl ${a b}", "", ""},
		{"curl ${}", "", ""},
		{"curl $(a", "", ""},
		{"curl a(b)", "", ""},
		{"curl >", "", ""},
		{"curl -d @- <<END", "", ""},
		{"", "", ""},
		{"A=b", "", ""},
	} {
		words, err := shellWords(c.command)
		got, variable := "", ""
		for _, w := range words {
			got, variable = got+"["+w.text+"]", w.variable
		}
		if got != c.want || variable != c.variable || (err == nil) != (c.want != "") {
			t.Errorf("%q: got %q, variable %q, %v; want %q, %q", c.command, got, variable, err, c.want, c.variable)
		}
	}
}

// FuzzShellWords checks that shellWords reads arguments in apostrophes as they are, and that it ends for any text.
func FuzzShellWords(f *testing.F) {
	for _, part := range shellParts {
		f.Add("a"+part, part+"b")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if end, err := commandLength(a); err == nil {
			words, err := shellWords(a[:end.at])
			for _, w := range words {
				if err != nil || len(w.text) > 6*len(a) {
					t.Fatalf("%q: word %q, error %v", a, w.text, err)
				}
			}
		}
		want := []string{strings.ReplaceAll(a, "\r", ""), strings.ReplaceAll(b, "\r", "")}
		command := "curl"
		for _, w := range want {
			command += " '" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words, err := shellWords(command)
		if err != nil || len(words) != 3 || words[1].text != want[0] || words[2].text != want[1] {
			t.Fatalf("%q: got %q, %v", command, words, err)
		}
	})
}

// TestCommandLength: quotation marks and escapes inside of a substitution do not end the command around it.
func TestCommandLength(t *testing.T) {
	t.Parallel()
	for _, command := range []string{
		`curl $(p ")" \))`, `curl "$(p ')')"`, `curl "$(p "b" 'c')"`, "curl `p ')'`", `curl <(p ";")`, `curl ${A:-"b}"}`, `curl 'a;b' "c|d" $'e\';f'`,
	} {
		if end, err := commandLength(command + "; next"); err != nil || end != (commandEnd{len(command), ';'}) {
			t.Errorf("%s: ends at %d of %d with %q, %v", command, end.at, len(command), end.by, err)
		}
	}
}
