package main

import (
	"cmp"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/store"
)

type userVerbs struct {
	Add    userAdd    `cmd:"" help:"Add a person. Works without a running server, and makes the database where there is none."`
	List   userList   `cmd:"" help:"List people."`
	Show   userShow   `cmd:"" help:"Show a person and where they are signed in."`
	Passwd userPasswd `cmd:"" help:"Set a person's password; all their sessions end."`
	Lock   userLock   `cmd:"" help:"Keep a person out: all their sessions end, within a second on a running server."`
	Unlock userUnlock `cmd:"" help:"Let a person in again."`
}

// who names a person.
type who struct {
	Person string `arg:"" placeholder:"EMAIL" help:"E-mail address, or id."`
}

func (w who) find(e *environment, s *system) (store.User, error) {
	u, err := s.People.ByID(e, w.Person)
	if errors.Is(err, store.ErrNotFound) {
		u, err = s.People.ByEmail(e, w.Person)
	}
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, durward.InvalidRequest) {
		return u, refused("durward user list shows who there is.", "nobody has the address or id %q", w.Person)
	}
	return u, err
}

// newPassword is where a new password comes from: never from the arguments,
// which everybody on the machine can read.
type newPassword struct {
	PasswordStdin bool `help:"Read the password from standard input; one line end at its end is dropped."`
}

func (n newPassword) read(e *environment) (string, error) {
	if n.PasswordStdin {
		return e.secretFromStdin()
	}
	f, err := e.terminal("Send it to standard input and say --password-stdin.")
	if err != nil {
		return "", err
	}
	first, err := e.askSecret(f, "New password: ")
	if err != nil {
		return "", err
	}
	if again, err := e.askSecret(f, "Once more: "); err != nil {
		return "", err
	} else if again != first {
		return "", refused("Begin again.", "the two are not the same")
	}
	return first, nil
}

type userAdd struct {
	place
	newPassword
	output
	Email string `arg:"" help:"E-mail address."`
	Name  string `help:"Name, as it is shown." placeholder:"N"`
	Admin bool   `help:"May administrate."`
}

func (v userAdd) Run(e *environment) (err error) {
	password, err := v.read(e)
	if err != nil {
		return err
	}
	s, err := v.open(e, creating)
	if err != nil {
		return err
	}
	defer s.close(&err)
	u, err := s.People.Add(e, account.NewPerson{Email: v.Email, Name: v.Name, Password: password, Admin: v.Admin}, store.EventUserAdded, operator)
	if errors.Is(err, durward.EmailTaken) {
		return refused("durward user passwd sets another password.", "%s has an account", v.Email)
	} else if err != nil {
		return err
	}
	if v.JSON {
		return e.json(shownUser(u))
	}
	fmt.Fprintf(e.stdout, "added %s (%s)\n", u.Email, u.ID)
	return nil
}

// person is a user as printed for machines.
type person struct {
	ID        string     `json:"id"`
	Email     string     `json:"email"`
	Name      string     `json:"name"`
	Admin     bool       `json:"admin"`
	CreatedAt time.Time  `json:"created_at"`
	LockedAt  *time.Time `json:"locked_at,omitempty"`
	Sessions  []signedIn `json:"sessions,omitempty"`
}

type signedIn struct {
	ID         string    `json:"id"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at"`
	Device     string    `json:"device"`
	Network    string    `json:"network"`
}

func shownUser(u store.User) person {
	p := person{ID: u.ID, Email: u.Email, Name: u.Name, Admin: u.Admin, CreatedAt: u.CreatedAt}
	if !u.LockedAt.IsZero() {
		p.LockedAt = &u.LockedAt
	}
	return p
}

func (p person) state() string {
	switch {
	case p.LockedAt != nil:
		return "locked"
	case p.Admin:
		return "admin"
	}
	return ""
}

type userList struct {
	place
	output
}

func (v userList) Run(e *environment) (err error) {
	s, err := v.open(e, reading)
	if err != nil {
		return err
	}
	defer s.close(&err)
	people := []person{}
	for after, more := "", true; more; {
		const page = 500
		users, err := s.DB.Users(e, after, page)
		if err != nil {
			return err
		}
		for _, u := range users {
			people = append(people, shownUser(u))
			after = u.EmailKey
		}
		more = len(users) == page
	}
	if v.JSON {
		return e.json(map[string]any{"items": people})
	}
	if len(people) == 0 {
		e.say("there is nobody yet; durward user add adds somebody")
		return nil
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "EMAIL\tNAME\tSTATE\tSINCE\tID")
	for _, p := range people {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Email, p.Name, p.state(), p.CreatedAt.Format(time.DateOnly), p.ID)
	}
	return w.Flush()
}

type userShow struct {
	place
	output
	who
}

func (v userShow) Run(e *environment) (err error) {
	s, err := v.open(e, reading)
	if err != nil {
		return err
	}
	defer s.close(&err)
	u, err := v.find(e, s)
	if err != nil {
		return err
	}
	sessions, err := s.People.Sessions(e, u.ID)
	if err != nil {
		return err
	}
	p := shownUser(u)
	for _, row := range sessions {
		p.Sessions = append(p.Sessions, signedIn{row.ID, row.CreatedAt, row.LastUsedAt, row.Device, row.Network})
	}
	if v.JSON {
		return e.json(p)
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "email\t%s\nname\t%s\nid\t%s\nsince\t%s\nadmin\t%t\n", p.Email, p.Name, p.ID, p.CreatedAt.Format(time.RFC3339), p.Admin)
	if p.LockedAt != nil {
		fmt.Fprintf(w, "locked since\t%s\n", p.LockedAt.Format(time.RFC3339))
	}
	for _, row := range p.Sessions {
		fmt.Fprintf(w, "signed in\t%s, last used %s, %s, %s\n", row.CreatedAt.Format(time.RFC3339), row.LastUsedAt.Format(time.RFC3339), cmp.Or(row.Device, "unknown device"), cmp.Or(row.Network, "unknown network"))
	}
	return w.Flush()
}

// onPerson is a deed of the operator to one person.
type onPerson struct {
	place
	output
	who
}

// do does the deed and prints the person as they are after it: said names their
// address.
func (v onPerson) do(e *environment, said string, deed func(*system, store.User) error) (err error) {
	s, err := v.open(e, writing)
	if err != nil {
		return err
	}
	defer s.close(&err)
	u, err := v.find(e, s)
	if err != nil {
		return err
	}
	if err := deed(s, u); err != nil {
		return err
	}
	if u, err = s.People.ByID(e, u.ID); err != nil {
		return err
	}
	if v.JSON {
		return e.json(shownUser(u))
	}
	fmt.Fprintf(e.stdout, said, u.Email)
	return nil
}

type userPasswd struct {
	newPassword
	onPerson
}

func (v userPasswd) Run(e *environment) error {
	password, err := v.read(e)
	if err != nil {
		return err
	}
	return v.do(e, "%s has a new password; all their sessions have ended\n", func(s *system, u store.User) error {
		return s.People.SetPassword(e, u, password, operator)
	})
}

type userLock struct{ onPerson }

func (v userLock) Run(e *environment) error {
	return v.do(e, "%s is locked; all their sessions have ended\n", func(s *system, u store.User) error { return s.People.Lock(e, u.ID, operator) })
}

type userUnlock struct{ onPerson }

func (v userUnlock) Run(e *environment) error {
	return v.do(e, "%s may sign in again\n", func(s *system, u store.User) error { return s.People.Unlock(e, u.ID, operator) })
}
