package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/durward-auth/durward/server/internal/explain"
)

type completionVerb struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"Shell: bash, zsh or fish."`
}

// completionScripts holds a script for each shell. It calls durward complete with the words of the
// command line up to the cursor. Without an answer the shell completes names of files.
var completionScripts = map[string]string{
	"bash": `# Add to ~/.bashrc: source <(durward completion bash)
_durward() {
	local IFS=$'\n'
	COMPREPLY=($(durward complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o default -F _durward durward
`,
	"zsh": `#compdef durward
# Add to ~/.zshrc, after compinit: source <(durward completion zsh)
_durward() {
	local -a all
	all=("${(@f)$(durward complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	all=("${(@)${(@)all//:/\\:}//$'\t'/:}")
	if [[ -n "${all[1]}" ]]; then _describe verb all; else _files; fi
}
compdef _durward durward
`,
	"fish": `# Add to ~/.config/fish/config.fish: durward completion fish | source
function __durward
	set -l found (durward complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)
	if test (count $found) -gt 0
		string join \n -- $found
	else
		__fish_complete_path (commandline -ct)
	end
end
complete -c durward -f -a '(__durward)'
`,
}

func (v completionVerb) Run(e *environment) error {
	fmt.Fprint(e.stdout, completionScripts[v.Shell])
	return nil
}

type completeVerb struct {
	Word []string `arg:"" optional:"" help:"Words after durward; the last one is completed."`
}

func (v completeVerb) Run(e *environment) error {
	parser, err := newParser()
	if err != nil {
		return err
	}
	for _, c := range candidates(parser.Model.Node, v.Word) {
		fmt.Fprintln(e.stdout, strings.TrimRight(c.word+"\t"+c.help, "\t"))
	}
	return nil
}

// candidate is a completion of a word.
type candidate struct{ word, help string }

// candidates returns the completions of the last of words: verbs, flags, or listed values of an argument.
func candidates(root *kong.Node, words []string) (found []candidate) {
	if len(words) == 0 {
		words = []string{""}
	}
	node, waiting := root, (*kong.Flag)(nil) // waiting is a flag before its value
	last := words[len(words)-1]
	for _, word := range words[:len(words)-1] {
		switch {
		case waiting != nil:
			waiting = nil
		case isFlag(word):
			waiting = flagWithValue(node, word)
		case node == root && word == "help": // verbs follow
		default:
			if i := slices.IndexFunc(node.Children, func(c *kong.Node) bool { return c.Name == word }); i >= 0 {
				node = node.Children[i]
			}
		}
	}
	offer := func(word, help string) {
		if strings.HasPrefix(word, last) {
			found = append(found, candidate{word, help})
		}
	}
	switch {
	case waiting != nil: // any value
	case isFlag(last):
		for _, group := range node.AllFlags(true) {
			for _, f := range group {
				offer("--"+f.Name, f.Help)
			}
		}
	case node.Name == "explain":
		for _, code := range explain.All() {
			offer(code.ID, code.Title)
		}
	default:
		for _, c := range node.Children {
			if !c.Hidden {
				offer(c.Name, c.Help)
			}
		}
		for _, p := range node.Positional {
			if p.Enum != "" {
				for _, value := range p.EnumSlice() {
					offer(value, "")
				}
			}
		}
	}
	return found
}

// flagWithValue returns the flag of node that word names if its value is the next word, else nil.
func flagWithValue(node *kong.Node, word string) *kong.Flag {
	for _, group := range node.AllFlags(false) {
		for _, f := range group {
			if !f.IsBool() && (word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short)) {
				return f
			}
		}
	}
	return nil
}
