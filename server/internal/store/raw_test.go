package store

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// TestTables compares Tables with the schema of each engine.
func TestTables(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		address := fresh(t)
		db := openAt(t, address)
		query, names := `SELECT m.name, p.name FROM sqlite_schema m, pragma_table_info(m.name) p WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, p.cid`, make(map[string][]string)
		if strings.HasPrefix(address, "postgres") {
			query = `SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position`
		}
		rows, err := pool(db).QueryContext(t.Context(), query)
		must(t, err)
		defer rows.Close()
		for rows.Next() {
			var table, column string
			must(t, rows.Scan(&table, &column))
			if table != "goose_db_version" {
				names[table] = append(names[table], column)
			}
		}
		must(t, rows.Err())
		for _, of := range Tables {
			want := names[of.Name]
			delete(names, of.Name)
			if got := strings.Fields(of.Columns); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
				t.Errorf("columns of %s in Tables: %v, in the schema: %v", of.Name, got, want)
			}
		}
		if len(names) > 0 {
			t.Errorf("not in Tables: %v", names)
		}
	})
}

// A node or a command that starts while a database is restored or copied is refused.
func TestOpenDuringExclusiveAccess(t *testing.T) {
	t.Parallel()
	address := testkit.Postgres(t)
	db, err := Open(t.Context(), Config{URL: address})
	must(t, errors.Join(err, db.Close()))
	exclusive, err := OpenRaw(t.Context(), Config{URL: address}, Exclusive)
	must(t, err)
	var open *OpenError
	if db, err := Open(t.Context(), Config{URL: address}); !errors.Is(err, ErrInUse) || !errors.As(err, &open) || open.Hint == "" || db != nil {
		t.Errorf("opened during exclusive access: %v", err)
	}
	must(t, exclusive.Close())
	db, err = Open(t.Context(), Config{URL: address})
	must(t, errors.Join(err, db.Close()))
}
