package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/userfile"
)

// Limits of an import by HTTP: it is answered within one request. durward user import has none.
const (
	MaxImport     = 1 << 20 // octets of the file
	maxImportRows = 5000
)

// ImportFormats are the formats of userfile.Formats that need no second file.
var ImportFormats = []string{"auth0", "keycloak", "supabase"}

// ImportOptions are the options of an import.
type ImportOptions struct {
	Format      string // "" or one of ImportFormats
	DryRun      bool   // checks and adds none
	WithoutHash bool   // accepts users without a hash
	LookAlike   bool   // accepts addresses that look like those of other users
}

// ImportedRow is a row of a file of users.
type ImportedRow struct {
	Row   userfile.Row
	Fault error // nil for a row that was imported
}

// ImportUsers adds the users of a file as durward user import does. A fault of one row keeps no other row out.
// It refuses a file that it cannot read with InvalidRequest, naming the member file or format, and adds no user
// of it. An import that fails later, or whose client goes away, has added the rows of its first batches: the
// same file can be imported again.
func (s *Server) ImportUsers(ctx context.Context, file []byte, o ImportOptions, by request.Info) ([]ImportedRow, error) {
	if o.Format != "" && !slices.Contains(ImportFormats, o.Format) {
		return nil, invalid("format", "The format is none of "+strings.Join(ImportFormats, ", ")+".",
			"Use durward user import for the format firebase.")
	}
	var rows []userfile.Row
	err := userfile.Read(bytes.NewReader(file), userfile.Config{Format: o.Format, Now: s.c.Now()}, func(r userfile.Row) error {
		if rows = append(rows, r); len(rows) > maxImportRows {
			return invalid("file", fmt.Sprintf("The file has more than %d users.", maxImportRows), "Divide it, or use durward user import.")
		}
		return nil
	})
	if errors.Is(err, userfile.ErrForm) {
		return nil, invalid("file", "The file cannot be read: "+strings.TrimPrefix(err.Error(), userfile.ErrForm.Error()+": ")+".",
			"For example: email,name,hash. The parameter format names the product of an export.")
	} else if err != nil {
		return nil, err
	}
	all := make([]ImportedRow, 0, len(rows))
	i := account.Import{Accounts: s.c.Accounts, From: by, LookAlike: o.LookAlike, WithoutHash: o.WithoutHash, DryRun: o.DryRun}
	for batch := range slices.Chunk(rows, account.ImportBatch) {
		faults, err := i.AddRows(ctx, batch, "", func([]error) (string, error) { return "", nil })
		if errors.Is(err, store.ErrChanged) {
			return nil, invalid("file", "Another import runs, or was interrupted.", "Wait until it ends, or continue it with durward user import.")
		} else if err != nil {
			return nil, err
		}
		for n, r := range batch {
			all = append(all, ImportedRow{r, faults[n]})
		}
	}
	return all, nil
}

// importTypes are the media types of files of users.
var importTypes = []string{"text/csv", "application/jsonl", "application/x-ndjson", "application/json"}

// importUsers is POST /api/admin/users/import. The body is the file.
func (s *Server) importUsers(w http.ResponseWriter, r *http.Request, by request.Info) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(importTypes, kind) {
		return refusal(durward.UnsupportedMediaType, "The body is not a file of users.", "Send it as "+strings.Join(importTypes, " or ")+".",
			"the media type is not one of a file of users")
	}
	query := r.URL.Query()
	o := ImportOptions{Format: query.Get("format")}
	for name, option := range map[string]*bool{"dry_run": &o.DryRun, "without_hash": &o.WithoutHash, "look_alike": &o.LookAlike} {
		if *option, err = yes(query, name); err != nil {
			return err
		}
	}
	file, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxImport))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return &durward.Refusal{
			Code: durward.BodyTooLarge,
			Hint: "Divide the file, or use durward user import.",
			Err:  fmt.Errorf("a file of users over %d bytes", MaxImport),
		}
	} else if err != nil {
		return invalidBody("The body of the request is incomplete.", "")
	}
	rows, err := s.ImportUsers(r.Context(), file, o, by)
	if err != nil {
		return err
	}
	report := struct {
		Added  int                   `json:"added"`
		DryRun bool                  `json:"dry_run"`
		Faults []account.ImportFault `json:"faults"`
	}{len(rows), o.DryRun, []account.ImportFault{}}
	for _, row := range rows {
		if row.Fault != nil {
			report.Added--
			report.Faults = append(report.Faults, account.ImportFaultOf(row.Row, row.Fault, func(name string) string {
				return strings.ReplaceAll(name, "-", "_") + "=true"
			}))
		}
	}
	return answer(w, http.StatusOK, report, nil)
}
