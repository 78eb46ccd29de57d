package jwt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward/internal/loopback"
)

// maxMetadata is the maximum size of the metadata document, in bytes.
const maxMetadata = 256 << 10

// discover returns the URL of an issuer's key set. It reads the metadata at the location of OpenID
// Connect Discovery s4, then at that of RFC 8414 s3.1.
func discover(ctx context.Context, client *http.Client, issuer string) (jwksURI string, err error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return "", err
	}
	places := []string{strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"}
	inserted := *u
	inserted.RawPath, inserted.Path = "", "/.well-known/oauth-authorization-server"+strings.TrimSuffix(u.Path, "/")
	places = append(places, inserted.String())
	var errs []error
	for _, place := range places {
		m, err := fetchMetadata(ctx, client, place)
		if err == nil {
			err = m.fit(issuer)
		}
		if err == nil {
			return m.jwksURI, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", place, err))
	}
	return "", fmt.Errorf("cannot fetch the issuer's metadata: %w", errors.Join(errs...))
}

// metadata holds the members of an issuer's metadata that this package uses (RFC 8414 s2).
type metadata struct{ issuer, jwksURI string }

func fetchMetadata(ctx context.Context, client *http.Client, place string) (*metadata, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %s", cut(resp.Status))
	}
	body, err := readBounded(resp.Body, maxMetadata)
	if err != nil {
		return nil, err
	}
	m := new(metadata)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("not the JSON of metadata: %w", syntax(err))
	}
	return m, nil
}

// readBounded reads a body of at most most bytes.
func readBounded(body io.Reader, most int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(body, most+1))
	if err == nil && int64(len(text)) > most {
		return nil, fmt.Errorf("over %d octets", most)
	}
	return text, err
}

// UnmarshalJSONFrom reads the document.
func (m *metadata) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	texts := map[string]*string{"issuer": &m.issuer, "jwks_uri": &m.jwksURI}
	return readObject(d, func(name []byte) error {
		if to, ok := texts[string(name)]; ok {
			_, err := readString(d, to)
			return err
		}
		return skip(d)
	})
}

// fit returns an error if the metadata belongs to another issuer, or if the URL of its key set is
// not allowed.
func (m *metadata) fit(issuer string) error {
	// RFC 8414 s3.3: identical. Otherwise an issuer could issue tokens in the name of another.
	if m.issuer != issuer {
		return fmt.Errorf("it is of issuer %s", shown(m.issuer))
	}
	if m.jwksURI == "" {
		return errors.New("it has no jwks_uri")
	}
	keys, err := fetchable("key set", m.jwksURI)
	if err != nil {
		return err
	}
	if of, err := url.Parse(issuer); err != nil || loopback.Host(keys.Hostname()) && !loopback.Host(of.Hostname()) {
		return errors.New("its jwks_uri is on this machine, the issuer is not")
	}
	return nil
}
