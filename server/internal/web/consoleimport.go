package web

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/store"
)

// importData is the data of /console/users/import.
type importData struct {
	Formats []string
	Example string        // of a file
	Report  *importReport // nil before the form was sent
}

const importExample = `email,hash,name
ada@example.com,"$argon2id$v=19$m=19456,t=2,p=1$…",Ada`

// importReport says what became of each row of a file.
type importReport struct {
	DryRun        bool
	Added, Faults []importLine
}

// importLine is a row of a file.
type importLine struct {
	Place, Email, Fault string
	English             bool // the fault has a text in no other language
}

// showImport is GET /console/users/import.
func (s *Server) showImport(w http.ResponseWriter, r *http.Request) error {
	return s.importPage(w, r, nil, nil)
}

func (s *Server) importPage(w http.ResponseWriter, r *http.Request, report *importReport, f *form) error {
	d := importData{Formats: httpapi.ImportFormats, Example: importExample, Report: report}
	return s.showConsole(w, r, "console-import.html", "users", d, f)
}

// importUsers is POST /console/users/import. Its response is the report, which has addresses and is therefore
// stored nowhere. A reload sends the file again, which adds no user twice.
func (s *Server) importUsers(w http.ResponseWriter, r *http.Request) error {
	f, file, err := readUpload(w, r, "file", httpapi.MaxImport, "format", "dry_run", "without_hash", "look_alike")
	lang := languageOf(r)
	if errors.Is(err, durward.BodyTooLarge) {
		f = new(form)
		f.Wrong("file", text(lang, "console.import_large")+" "+text(lang, "refused.id")+" "+s.guard.Report(r, err).ID)
		return s.importPage(w, r, nil, f)
	} else if err != nil {
		return err
	}
	if len(bytes.TrimSpace(file)) == 0 {
		f.Wrong("file", text(lang, "console.import_missing"))
		return s.importPage(w, r, nil, f)
	}
	rows, err := s.api.ImportUsers(r.Context(), file, httpapi.ImportOptions{
		Format:      f.Value("format"),
		DryRun:      f.Has("dry_run"),
		WithoutHash: f.Has("without_hash"),
		LookAlike:   f.Has("look_alike"),
	}, s.api.By(r))
	if err != nil {
		if err := s.consoleFault(r, f, err); err != nil {
			return err
		}
		return s.importPage(w, r, nil, f)
	}
	report := importReport{DryRun: f.Has("dry_run")}
	for _, row := range rows {
		line := importLine{Place: text(lang, "console.import_"+row.Row.Unit, strconv.Itoa(row.Row.Number)), Email: row.Row.User.Email}
		if row.Fault == nil {
			report.Added = append(report.Added, line)
			continue
		}
		line.Fault, line.English = importFault(lang, row)
		report.Faults = append(report.Faults, line)
	}
	return s.importPage(w, r, &report, f)
}

// importFault returns why a row was not imported. Faults of hashes and of the form of a row have a text in
// English alone.
func importFault(lang string, row httpapi.ImportedRow) (fault string, english bool) {
	_, rule := mistakeOf(lang, row.Fault)
	switch {
	case errors.Is(row.Fault, store.ErrLookAlike):
		return text(lang, "console.import_alike"), false
	case errors.Is(row.Fault, store.ErrEmailDeleted):
		return text(lang, "console.import_deleted"), false
	case errors.Is(row.Fault, durward.EmailTaken):
		return text(lang, "console.import_taken"), false
	case account.NoHash(row.Row, row.Fault):
		return text(lang, "console.import_no_hash"), false
	case rule != "":
		return rule, false
	}
	return account.ImportFaultOf(row.Row, row.Fault, func(name string) string { return name }).Error, true
}
