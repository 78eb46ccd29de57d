package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/store"
)

type userVerbs struct {
	Add    userAdd    `cmd:"" help:"Add a user. No server has to run; a missing database is created."`
	Invite userInvite `cmd:"" help:"Add a user who sets their own password by a link in a mail."`
	Import userImport `cmd:"" help:"Add users with the hashes of their passwords by another product."`
	List   userList   `cmd:"" help:"List users."`
	Show   userShow   `cmd:"" help:"Show a user and their sessions."`
	Passwd userPasswd `cmd:"" help:"Set a user's password and end all their sessions."`
	Lock   userLock   `cmd:"" help:"Lock a user and end all their sessions, on a running server within a second."`
	Unlock userUnlock `cmd:"" help:"Unlock a user, and lift the blocks for failed attempts."`
	Set    userSet    `cmd:"" help:"Change name, address or rights of a user."`
	Delete userDelete `cmd:"" help:"Delete a user and end all their sessions and API keys."`
	Export userExport `cmd:"" help:"Print all data of a user as JSON."`

	Group groupVerbs `cmd:"" help:"Manage the groups of users: add, remove, list."`

	RequireFactor userRequireFactor `cmd:"" help:"Require a second factor of a user, or no longer: with --off."`

	ResetFactors userResetFactors `cmd:"" help:"Remove all second factors of a user who lost them, and end all sessions."`
}

// userArgument is the argument that names a user.
type userArgument struct {
	User string `arg:"" placeholder:"EMAIL" help:"E-mail address or id."`
}

func (a userArgument) find(e *environment, s *node.Node) (store.User, error) {
	u, err := s.DB.UserByID(e, a.User)
	if errors.Is(err, store.ErrNotFound) {
		u, err = s.Accounts.ByEmail(e, a.User)
	}
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, durward.InvalidRequest) {
		return u, refused("durward user list shows all users.", "there is no user with the address or id %q", a.User)
	}
	return u, err
}

// newPassword is the flag of verbs that set a password. Without it they prompt. Passwords are never
// read from arguments, which every user of the machine can read.
type newPassword struct {
	PasswordStdin bool `help:"Read the password from standard input. One line break at the end is dropped."`
}

func (n newPassword) read(e *environment) (string, error) {
	first, err := e.password(n.PasswordStdin, "New password: ")
	if err != nil || n.PasswordStdin {
		return first, err
	}
	if again, err := e.password(false, "New password again: "); err != nil {
		return "", err
	} else if again != first {
		return "", refused("Try again.", "the two passwords differ")
	}
	return first, nil
}

type userAdd struct {
	location
	newPassword
	output
	Email string `arg:"" help:"E-mail address."`
	Name  string `help:"Display name." placeholder:"N"`
	Admin bool   `help:"Make the user an administrator."`

	LookAlike bool `help:"Accept an address that looks like that of another user."`
}

func (v userAdd) Run(e *environment) error {
	password, err := v.read(e)
	if err != nil {
		return err
	}
	s, err := v.open(e, node.Creating)
	if err != nil {
		return err
	}
	u, err := s.Accounts.Add(e, account.NewUser{
		Email:     v.Email,
		Name:      v.Name,
		Password:  password,
		Admin:     v.Admin,
		LookAlike: v.LookAlike,
	}, store.EventUserAdded, operator)
	if err := takenHint(err, v.Email); err != nil {
		return err
	}
	return v.print(e, userJSONOf(u), "added %s (%s)", u.Email, u.ID)
}

type userInvite struct {
	location
	output
	Email string `arg:"" help:"E-mail address."`
	Name  string `help:"Display name." placeholder:"N"`
	Admin bool   `help:"Make the user an administrator."`

	LookAlike bool `help:"Accept an address that looks like that of another user."`
}

// Run adds the user. A running server sends the mail.
func (v userInvite) Run(e *environment, c *config.Loaded) error {
	if c.Registration == "off" {
		return refused("Set registration to invite or open, or use: durward user add.", "registration is off, so the server accepts no invitations")
	}
	s, err := v.open(e, node.Writing)
	if err != nil {
		return err
	}
	u, err := s.Accounts.Invite(e, account.NewUser{Email: v.Email, Name: v.Name, Admin: v.Admin, LookAlike: v.LookAlike}, operator)
	if err := takenHint(err, v.Email); err != nil {
		return err
	}
	return v.print(e, userJSONOf(u), "invited %s (%s); a running server sends the mail", u.Email, u.ID)
}

// takenHint gives the operator a hint for an address that has an account or looks like one that has.
func takenHint(err error, email string) error {
	switch {
	case errors.Is(err, store.ErrEmailDeleted):
		return refused("Wait, or use another address.", "%s was the address of a user who was deleted less than 30 days ago", email)
	case errors.Is(err, store.ErrLookAlike):
		return refused("Check the spelling; --look-alike adds the user all the same.", "%s looks like the address of another user", email)
	case errors.Is(err, durward.EmailTaken):
		return refused("durward user passwd sets a new password.", "%s has an account already", email)
	}
	return err
}

// userJSON is a user in JSON output.
type userJSON struct {
	ID        string    `json:"id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Admin     bool      `json:"admin"`
	CreatedAt time.Time `json:"created_at"`
	LockedAt  time.Time `json:"locked_at,omitzero"`
	LookAlike bool      `json:"look_alike,omitempty"`

	// Unverified tells that the user registered and has not confirmed the address.
	Unverified bool `json:"unverified,omitempty"`

	// FactorRequired tells that a second factor is required of the user, FactorGroups by which groups. OwesFactor
	// tells that the user has none yet.
	FactorRequired bool     `json:"factor_required,omitempty"`
	FactorGroups   []string `json:"factor_groups,omitempty"`
	OwesFactor     bool     `json:"owes_factor,omitempty"`

	Groups   []string      `json:"groups,omitempty"`
	Sessions []sessionJSON `json:"sessions,omitempty"`
}

type sessionJSON struct {
	ID         string    `json:"id"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at"`
	Device     string    `json:"device"`
	Network    string    `json:"network"`
}

func userJSONOf(u store.User) userJSON {
	return userJSON{
		ID: u.ID, Email: u.Email, Name: u.Name, Admin: u.Admin, CreatedAt: u.CreatedAt, LockedAt: u.LockedAt, Unverified: u.Unverified,
		FactorRequired: u.FactorRequired, OwesFactor: u.OwesFactor(),
	}
}

// state returns what the list says of a user, such as "look-alike,admin".
func (j userJSON) state() string {
	var states []string
	if !j.LockedAt.IsZero() {
		states = append(states, "locked")
	}
	if j.Unverified {
		states = append(states, "unverified")
	}
	if j.LookAlike {
		states = append(states, "look-alike")
	}
	if j.OwesFactor {
		states = append(states, "owes-factor")
	}
	if j.Admin {
		states = append(states, "admin")
	}
	return strings.Join(states, ",")
}

type userList struct {
	reader
	output
}

func (v userList) Run(e *environment, s *node.Node) error {
	users, err := s.DB.Users(e, "", math.MaxInt32)
	if err != nil {
		return err
	}
	lookAlikes, err := s.DB.LookAlikes(e)
	if err != nil {
		return err
	}
	var items []userJSON
	for _, u := range users {
		j := userJSONOf(u)
		j.LookAlike = slices.Contains(lookAlikes, u.ID)
		items = append(items, j)
	}
	return printItems(e, v.output, items, "there are no users; add one with: durward user add EMAIL",
		"EMAIL\tNAME\tSTATE\tSINCE\tID", func(j userJSON) []string {
			return []string{j.Email, j.Name, j.state(), j.CreatedAt.Format(time.DateOnly), j.ID}
		})
}

type userShow struct {
	reader
	output
	userArgument
}

func (v userShow) Run(e *environment, s *node.Node) error {
	u, err := v.find(e, s)
	if err != nil {
		return err
	}
	sessions, err := s.Sessions.List(e, u.ID)
	if err != nil {
		return err
	}
	j := userJSONOf(u)
	if j.Groups, err = s.DB.Groups(e, u.ID); err != nil {
		return err
	}
	if j.FactorGroups, err = s.DB.FactorGroups(e, u.ID); err != nil {
		return err
	}
	for _, row := range sessions {
		j.Sessions = append(j.Sessions, sessionJSON{row.ID, row.CreatedAt, row.LastUsedAt, row.Device, row.Network})
	}
	if v.JSON {
		return e.json(j)
	}
	rows := [][]string{
		{"email", j.Email}, {"name", j.Name}, {"id", j.ID},
		{"since", j.CreatedAt.Format(time.RFC3339)}, {"admin", fmt.Sprint(j.Admin)},
	}
	if !j.LockedAt.IsZero() {
		rows = append(rows, []string{"locked since", j.LockedAt.Format(time.RFC3339)})
	}
	if len(j.Groups) > 0 {
		rows = append(rows, []string{"groups", strings.Join(j.Groups, ", ")})
	}
	if u.FactorRequired {
		rows = append(rows, []string{"second factor", requiredBy(u, j.FactorGroups)})
	}
	for _, s := range j.Sessions {
		rows = append(rows, []string{"signed in", fmt.Sprintf("%s, last used %s, %s, %s", s.CreatedAt.Format(time.RFC3339),
			s.LastUsedAt.Format(time.RFC3339), cmp.Or(s.Device, "unknown device"), cmp.Or(s.Network, "unknown network"))})
	}
	return e.table(rows)
}

// requiredBy describes a requirement of a second factor, such as "required by the groups: staff; not set up".
func requiredBy(u store.User, groups []string) string {
	text := "required"
	if u.FactorRequiredAt.IsZero() {
		text = "required by the groups: " + strings.Join(groups, ", ")
	} else if len(groups) > 0 {
		text = "required, also by the groups: " + strings.Join(groups, ", ")
	}
	if u.OwesFactor() {
		text += "; not set up"
	}
	return text
}

// userCommand is a verb that changes one user.
type userCommand struct {
	location
	output
	userArgument
}

// run executes change and prints the changed user: as JSON, or the address and done.
func (v userCommand) run(e *environment, done string, change func(*node.Node, store.User) error) error {
	return v.runAndTell(e, change, func(_ *node.Node, u store.User) (userJSON, string, error) { return userJSONOf(u), done, nil })
}

// runAndTell executes change and prints the changed user: as the JSON that tell returns, or the address and the
// text that it returns.
func (v userCommand) runAndTell(
	e *environment, change func(*node.Node, store.User) error, tell func(*node.Node, store.User) (userJSON, string, error),
) error {
	s, err := v.open(e, node.Writing)
	if err != nil {
		return err
	}
	u, err := v.find(e, s)
	if err != nil {
		return err
	}
	if err := change(s, u); err != nil {
		return err
	}
	if u, err = s.DB.UserByID(e, u.ID); err != nil {
		return err
	}
	j, done, err := tell(s, u)
	if err != nil {
		return err
	}
	return v.print(e, j, "%s %s", u.Email, done)
}

type userPasswd struct {
	newPassword
	userCommand
}

func (v userPasswd) Run(e *environment) error {
	password, err := v.read(e)
	if err != nil {
		return err
	}
	return v.run(e, "has a new password; all their sessions ended", func(s *node.Node, u store.User) error {
		return s.Sessions.SetPassword(e, u, password, operator)
	})
}

type userLock struct{ userCommand }

func (v userLock) Run(e *environment) error {
	return v.run(e, "is locked; all their sessions ended", func(s *node.Node, u store.User) error {
		return s.Sessions.LockUser(e, u.ID, operator)
	})
}

type userUnlock struct{ userCommand }

func (v userUnlock) Run(e *environment) error {
	return v.run(e, "is unlocked, also where failed attempts blocked the account", func(s *node.Node, u store.User) error {
		return s.Accounts.Unlock(e, u.ID, operator)
	})
}

type userResetFactors struct{ userCommand }

func (v userResetFactors) Run(e *environment) error {
	return v.runAndTell(e, func(s *node.Node, u store.User) error {
		err := s.Sessions.ResetFactors(e, u.ID, operator)
		if errors.Is(err, store.ErrNotFound) {
			return refused("The password is sufficient for a sign-in.", "%s has no second factor", u.Email)
		}
		return err
	}, func(_ *node.Node, u store.User) (userJSON, string, error) {
		done := "has no second factor any more; all their sessions ended"
		if u.OwesFactor() {
			done += "; one is required, so they set it up at the next sign-in"
		}
		return userJSONOf(u), done, nil
	})
}

// requirementSwitch is the flag of verbs that require a second factor.
type requirementSwitch struct {
	Off bool `help:"Require none any more."`
}

type userRequireFactor struct {
	userCommand
	requirementSwitch
}

func (v userRequireFactor) Run(e *environment) error {
	return v.runAndTell(e, func(s *node.Node, u store.User) error {
		return s.Accounts.RequireFactor(e, u.ID, !v.Off, operator)
	}, func(s *node.Node, u store.User) (j userJSON, done string, err error) {
		j = userJSONOf(u)
		if j.FactorGroups, err = s.DB.FactorGroups(e, u.ID); err != nil {
			return j, "", err
		}
		switch {
		case !u.FactorRequired:
			done = "needs no second factor"
		case v.Off:
			done = "still needs a second factor, which these groups require: " + strings.Join(j.FactorGroups, ", ")
		case u.OwesFactor():
			done = "must set up a second factor before anything else"
		default:
			done = "has the second factor that is required now"
		}
		return j, done, nil
	})
}

type userSet struct {
	userCommand
	Name  *string `help:"Display name." placeholder:"N"`
	Email *string `help:"New e-mail address." placeholder:"EMAIL"`
	Admin *bool   `negatable:"" help:"Make the user an administrator, or with --no-admin a user without that right; then all their sessions end."`
}

func (v userSet) Run(e *environment) error {
	if v.Name == nil && v.Email == nil && v.Admin == nil {
		return usage("Add --name, --email, --admin or --no-admin.", "nothing to change")
	}
	return v.run(e, "is changed", func(s *node.Node, u store.User) error {
		err := s.Sessions.SetUser(e, u.ID, account.Change{Name: v.Name, Email: v.Email, Admin: v.Admin}, operator)
		switch {
		case errors.Is(err, store.ErrEmailDeleted):
			return refused("Wait, or use another address.", "the address was that of a user who was deleted less than 30 days ago")
		case errors.Is(err, store.ErrLookAlike):
			return refused("Check the spelling.", "%s looks like the address of another user", *v.Email)
		case errors.Is(err, durward.EmailTaken):
			return refused("", "%s has an account already", *v.Email)
		}
		return err
	})
}

type userDelete struct {
	location
	output
	userArgument
}

func (v userDelete) Run(e *environment) error {
	s, err := v.open(e, node.Writing)
	if err != nil {
		return err
	}
	u, err := v.find(e, s)
	if err != nil {
		return err
	}
	if err := s.Sessions.DeleteUser(e, u.ID, operator); err != nil {
		return err
	}
	return v.print(e, map[string]string{"deleted": u.ID}, "deleted %s (%s); all their sessions and API keys ended", u.Email, u.ID)
}

type groupVerbs struct {
	Add    groupAdd    `cmd:"" help:"Add a user to a group."`
	Remove groupRemove `cmd:"" help:"Remove a user from a group."`
	List   groupList   `cmd:"" help:"List the groups of a user, or all groups."`

	RequireFactor groupRequireFactor `cmd:"" help:"Require a second factor of the users of a group, or no longer: with --off."`
}

// groupArgument is the argument that names a group.
type groupArgument struct {
	Group string `arg:"" help:"Name of the group: small letters, digits and . _ -."`
}

type groupAdd struct {
	userCommand
	groupArgument
}

func (v groupAdd) Run(e *environment) error {
	return v.run(e, "is in the group "+v.Group, func(s *node.Node, u store.User) error {
		return s.Accounts.AddToGroup(e, u.ID, v.Group, operator)
	})
}

type groupRemove struct {
	userCommand
	groupArgument
}

func (v groupRemove) Run(e *environment) error {
	return v.run(e, "is not in the group "+v.Group+" any more", func(s *node.Node, u store.User) error {
		err := s.Sessions.RemoveFromGroup(e, u.ID, v.Group, operator)
		if errors.Is(err, store.ErrNotFound) {
			return refused("durward user group list EMAIL shows the groups of a user.", "%s is not in the group %q", u.Email, v.Group)
		}
		return err
	})
}

type groupList struct {
	reader
	output
	User string `arg:"" optional:"" placeholder:"EMAIL" help:"E-mail address or id of a user; without it all groups are listed."`
}

// groupJSON is a group in JSON output.
type groupJSON struct {
	Name           string `json:"name"`
	Users          int    `json:"users,omitempty"`
	FactorRequired bool   `json:"factor_required,omitempty"`
}

type groupRequireFactor struct {
	location
	output
	groupArgument
	requirementSwitch
}

func (v groupRequireFactor) Run(e *environment) error {
	s, err := v.open(e, node.Writing)
	if err != nil {
		return err
	}
	if err := s.Accounts.RequireFactorOfGroup(e, v.Group, !v.Off, operator); err != nil {
		return err
	}
	done := "the users of the group %s need a second factor"
	if v.Off {
		done = "the group %s requires no second factor"
	}
	return v.print(e, groupJSON{Name: v.Group, FactorRequired: !v.Off}, done, v.Group)
}

func (v groupList) Run(e *environment, s *node.Node) error {
	var items []groupJSON
	if v.User == "" {
		sizes, err := s.DB.GroupSizes(e)
		if err != nil {
			return err
		}
		for _, g := range sizes {
			items = append(items, groupJSON{g.Name, g.Users, g.FactorRequired})
		}
		return printItems(e, v.output, items, "there are no groups", "GROUP\tUSERS\tSECOND FACTOR", func(g groupJSON) []string {
			required := ""
			if g.FactorRequired {
				required = "required"
			}
			return []string{g.Name, fmt.Sprint(g.Users), required}
		})
	}
	u, err := userArgument{User: v.User}.find(e, s)
	if err != nil {
		return err
	}
	names, err := s.DB.Groups(e, u.ID)
	if err != nil {
		return err
	}
	for _, name := range names {
		items = append(items, groupJSON{Name: name})
	}
	return printItems(e, v.output, items, "the user is in no group", "", func(g groupJSON) []string { return []string{g.Name} })
}

type userExport struct {
	reader
	userArgument
}

// Run prints the data in JSON only: the form in which a user can take it to another product.
func (v userExport) Run(e *environment, s *node.Node) error {
	u, err := v.find(e, s)
	if err != nil {
		return err
	}
	data, err := s.Accounts.Export(e, u)
	if err != nil {
		return err
	}
	return e.json(data)
}
