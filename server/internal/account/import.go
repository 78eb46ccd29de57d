package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/userfile"
)

// ImportedUser holds the properties of a user of another product. Its hash has a form that pwhash.Parse reads;
// it is empty for a user without a password.
type ImportedUser userfile.User

// Import adds users of another product in batches. It is for one goroutine.
type Import struct {
	Accounts *Manager
	From     request.Info

	LookAlike   bool // accepts an address that looks like that of another user
	WithoutHash bool // accepts users without a hash: each needs a new password
	DryRun      bool // checks and adds none

	seen  map[string]bool // of a dry run: keys and skeletons of the users that would have been added
	costs []string        // likewise: costs of their hashes
}

// ImportBatch is the number of users that one transaction adds. A running server waits for it with its
// own writes.
const ImportBatch = 200

// maxImportedCosts limits the costs of imported hashes, of which each check of a password computes one
// each.
const maxImportedCosts = 4

// Add adds users in one transaction and stores the state of the import, which follows was, in it: next
// returns it for the faults of the users. A fault is nil or refuses one user with InvalidRequest or
// EmailTaken. Add returns store.ErrChanged if another import runs.
func (i *Import) Add(
	ctx context.Context, users []ImportedUser, was string, next func(faults []error) (string, error),
) ([]error, error) {
	faults := make([]error, len(users))
	var batch []store.ImportedUser
	var places []int // of the batch in users
	for n, u := range users {
		one, err := i.user(u)
		if err == nil && i.DryRun {
			err = i.meet(one)
		}
		if faults[n] = err; err == nil {
			batch, places = append(batch, one), append(places, n)
		}
	}
	// Next gets the faults of all users: those above, and those of the database.
	complete := func(ofBatch []error) []error {
		all := slices.Clone(faults)
		for n, err := range ofBatch {
			all[places[n]] = ofStore(err)
		}
		return all
	}
	found, err := i.Accounts.DB.ImportUsers(ctx, batch, store.ImportOptions{
		LookAlike: i.LookAlike,
		Most:      maxImportedCosts,
		Costs:     i.costs,
		DryRun:    i.DryRun,
		Was:       was,
		Next:      func(ofBatch []error) (string, error) { return next(complete(ofBatch)) },
	})
	if err != nil {
		return nil, err
	}
	if i.DryRun {
		i.remember(batch, found)
	}
	return complete(found), nil
}

// AddRows is Add for rows of a file. The fault of a row is that of the file, or refuses the user.
func (i *Import) AddRows(
	ctx context.Context, rows []userfile.Row, was string, next func(faults []error) (string, error),
) ([]error, error) {
	var users []ImportedUser
	var places []int // of users in rows
	for n, r := range rows {
		if r.Fault == nil {
			users, places = append(users, ImportedUser(r.User)), append(places, n)
		}
	}
	complete := func(ofUsers []error) []error {
		all := make([]error, len(rows))
		for n, r := range rows {
			all[n] = r.Fault
		}
		for n, err := range ofUsers {
			all[places[n]] = err
		}
		return all
	}
	found, err := i.Add(ctx, users, was, func(ofUsers []error) (string, error) { return next(complete(ofUsers)) })
	if err != nil {
		return nil, err
	}
	return complete(found), nil
}

// ImportFault is a row of a file that was not imported, as JSON.
type ImportFault struct {
	Line  int    `json:"line,omitempty"` // of a file with lines
	User  int    `json:"user,omitempty"` // the number of the user in another file
	Email string `json:"email,omitempty"`
	Error string `json:"error"`
}

// ImportFaultOf returns the fault of a row without its hash. option returns the form of an option that would
// accept the row, such as look-alike.
func ImportFaultOf(r userfile.Row, err error, option func(name string) string) ImportFault {
	f := ImportFault{Email: r.User.Email, Error: err.Error()}
	if r.Unit == "line" {
		f.Line = r.Number
	} else {
		f.User = r.Number
	}
	refusal, mistaken := errors.AsType[*durward.Refusal](err)
	switch {
	case errors.Is(err, store.ErrLookAlike):
		f.Error = "the address looks like that of another user; " + option("look-alike") + " adds it all the same"
	case errors.Is(err, store.ErrEmailDeleted):
		f.Error = "the address was that of a user who was deleted less than 30 days ago"
	case errors.Is(err, durward.EmailTaken):
		f.Error = "the address has an account already"
	case NoHash(r, err):
		f.Error = "no hash; " + option("without-hash") + " adds the user without a password"
	case mistaken:
		f.Error = strings.TrimSpace(refusal.Detail + " " + refusal.Hint)
	}
	return f
}

// NoHash reports whether err refuses a row because it has no hash.
func NoHash(r userfile.Row, err error) bool {
	refusal, mistaken := errors.AsType[*durward.Refusal](err)
	return r.Fault == nil && r.User.Hash == "" && mistaken && refusal.Members["member"] == "hash"
}

// user returns the row of a user.
func (i *Import) user(u ImportedUser) (one store.ImportedUser, err error) {
	if one.User, err = i.Accounts.newUser(NewUser{Email: u.Email, Name: u.Name, Admin: u.Admin}); err != nil {
		return one, err
	}
	detail := "imported without a hash"
	if u.Hash != "" {
		stored, err := readImported(u.Hash)
		if err != nil {
			return one, err
		}
		u.Hash, one.Blank, detail = stored.String(), stored.Blank().String(), "imported hash, "+stored.Cost()
	} else if !i.WithoutHash {
		return one, mistake("hash", "There is no hash.", "")
	}
	one.User.Password = u.Hash
	if u.Locked {
		one.User.LockedAt = one.User.CreatedAt
	}
	one.Skeletons = skeletons(one.User.Email, one.User.EmailKey)
	one.Event = i.From.Event(store.EventUserAdded, "ok", one.User.ID, "", one.User.CreatedAt)
	one.Event.Detail = detail
	return one, nil
}

// meet returns the fault of a user in a dry run that an earlier one of the file is the reason of.
func (i *Import) meet(u store.ImportedUser) error {
	if i.seen["key "+u.User.EmailKey] {
		return ofStore(store.ErrEmailTaken)
	}
	alike := slices.ContainsFunc(u.Skeletons, func(s string) bool { return i.seen["skeleton "+s] })
	if alike && !i.LookAlike {
		return ofStore(store.ErrLookAlike)
	}
	return nil
}

// remember notes the users that would have been added.
func (i *Import) remember(batch []store.ImportedUser, faults []error) {
	if i.seen == nil {
		i.seen = make(map[string]bool)
	}
	for n, u := range batch {
		if faults[n] != nil {
			continue
		}
		i.seen["key "+u.User.EmailKey] = true
		for _, s := range u.Skeletons {
			i.seen["skeleton "+s] = true
		}
		if u.Blank != "" && !slices.Contains(i.costs, u.Blank) {
			i.costs = append(i.costs, u.Blank)
		}
	}
}

// ofStore returns the refusal for a fault of the store.
func ofStore(err error) error {
	if errors.Is(err, store.ErrTooMany) {
		return mistake("hash", fmt.Sprintf("The imported hashes have %d other costs already.", maxImportedCosts),
			"Every sign-in computes one hash of each cost: import this user after others have signed in, or without the hash.")
	}
	return RefuseTaken(err)
}

// readImported reads a hash of another product. The refusal names its fault and no part of the hash.
func readImported(text string) (pwhash.Stored, error) {
	stored, err := pwhash.Parse(text)
	if err != nil {
		fault := strings.TrimPrefix(err.Error(), pwhash.ErrMalformed.Error()+": ")
		return pwhash.Stored{}, mistake("hash", "The hash cannot be used: "+fault+".",
			"Accepted are argon2id, argon2i, scrypt, pbkdf2-sha256 and pbkdf2-sha512 as PHC strings, and bcrypt ($2a$, $2b$, $2y$) of cost 4 to 14.")
	}
	return stored, nil
}

// ReadImported reads which costs imported hashes have, so that each check of a password takes the work
// of all of them: the response time does not reveal the users with imported hashes.
func (m *Manager) ReadImported(ctx context.Context) error {
	blanks, err := m.DB.ImportedHashes(ctx)
	if err != nil {
		return err
	}
	var hashes []pwhash.Stored
	for _, blank := range blanks {
		if stored, err := pwhash.Parse(blank); err == nil { // else written by a newer version: no hash matches
			hashes = append(hashes, stored)
		}
	}
	m.Hasher.SetImported(hashes)
	return nil
}

// costPattern returns the pattern of LIKE for all hashes that may have the cost of blank.
func costPattern(blank string) string {
	stored, err := pwhash.Parse(blank)
	if err != nil { // written by a newer version: it stays
		return "%"
	}
	return stored.Pattern()
}
