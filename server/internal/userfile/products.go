package userfile

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward/internal/pwhash"
)

// lenient accepts the faults of other products: duplicate names, and text that is not valid UTF-8; its
// invalid octets are replaced.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// convert returns a function that decodes a JSON object and converts it to a user.
func convert[T any](of func(T) (User, error)) func(jsontext.Value) (User, error) {
	return func(value jsontext.Value) (User, error) {
		var t T
		if json.Unmarshal(value, &t, lenient) != nil { // the error may repeat a value
			return User{}, errors.New("the object has another form than the users of this format")
		}
		return of(t)
	}
}

// auth0User is a user in the file of password hashes that Auth0's support exports, or in the file of the
// export job; that one has no hashes.
type auth0User struct {
	Email       string `json:"email"`
	Name        string `json:"name"`
	Hash        string `json:"passwordHash"`
	Blocked     bool   `json:"blocked"`
	Identifiers []struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	} `json:"identifiers"`
}

func ofAuth0(a auth0User) (User, error) {
	for _, id := range a.Identifiers { // of users without the member email
		if a.Email == "" && id.Type == "email" {
			a.Email = id.Value
		}
	}
	if a.Name == a.Email { // Auth0 fills the name with the address
		a.Name = ""
	}
	return User{Email: a.Email, Hash: a.Hash, Name: a.Name, Locked: a.Blocked}, nil
}

// keycloakUser is a user in the export of a realm.
type keycloakUser struct {
	Username    string               `json:"username"`
	Email       string               `json:"email"`
	FirstName   string               `json:"firstName"`
	LastName    string               `json:"lastName"`
	Enabled     *bool                `json:"enabled"`
	Credentials []keycloakCredential `json:"credentials"`
}

// keycloakCredential is a password. Versions before 8 have the second group of members.
type keycloakCredential struct {
	Type           string `json:"type"`
	SecretData     string `json:"secretData"`     // a JSON object
	CredentialData string `json:"credentialData"` // likewise

	Value      string `json:"hashedSaltedValue"`
	Salt       string `json:"salt"`
	Iterations int    `json:"hashIterations"`
	Algorithm  string `json:"algorithm"`
}

func ofKeycloak(k keycloakUser) (User, error) {
	u := User{
		Email:  k.Email,
		Name:   strings.TrimSpace(k.FirstName + " " + k.LastName),
		Locked: k.Enabled != nil && !*k.Enabled,
	}
	if u.Email == "" && strings.Contains(k.Username, "@") {
		u.Email = k.Username
	}
	i := slices.IndexFunc(k.Credentials, func(c keycloakCredential) bool { return c.Type == "password" })
	if i < 0 {
		return u, nil
	}
	var err error
	u.Hash, err = k.Credentials[i].hash()
	return u, err
}

// hash returns a PHC string.
func (c keycloakCredential) hash() (string, error) {
	var data struct {
		Iterations int                 `json:"hashIterations"`
		Algorithm  string              `json:"algorithm"`
		More       map[string][]string `json:"additionalParameters"`
	}
	data.Iterations, data.Algorithm = c.Iterations, c.Algorithm
	secret := struct {
		Value string `json:"value"`
		Salt  string `json:"salt"`
	}{c.Value, c.Salt}
	if c.CredentialData != "" {
		if json.Unmarshal([]byte(c.CredentialData), &data, lenient) != nil || json.Unmarshal([]byte(c.SecretData), &secret, lenient) != nil {
			return "", errors.New("the credentials have another form than a password of Keycloak")
		}
	}
	salt, hash := strings.TrimRight(secret.Salt, "="), strings.TrimRight(secret.Value, "=")
	one := func(name string) string { return strings.Join(data.More[name], ",") }
	switch data.Algorithm {
	case "pbkdf2-sha256", "pbkdf2-sha512":
		return fmt.Sprintf("$%s$i=%d$%s$%s", data.Algorithm, data.Iterations, salt, hash), nil
	case "argon2":
		if version := one("version"); version != "1.3" {
			return "", errors.New("argon2 of another version than 1.3")
		}
		return fmt.Sprintf("$argon2%s$v=19$m=%s,t=%d,p=%s$%s$%s", one("type"), one("memory"), data.Iterations, one("parallelism"), salt, hash), nil
	case "pbkdf2":
		return "", errors.New("the hash cannot be used: PBKDF2 of SHA-1; without the hash the user needs a new password")
	}
	return "", errors.New("the hash cannot be used: another algorithm than argon2, pbkdf2-sha256 and pbkdf2-sha512")
}

// supabaseUser is a row of the table auth.users.
type supabaseUser struct {
	Email    string         `json:"email"`
	Hash     string         `json:"encrypted_password"`
	Data     jsontext.Value `json:"raw_user_meta_data"` // an object, or text that has one
	BannedTo string         `json:"banned_until"`
	Deleted  string         `json:"deleted_at"`
}

// supabaseColumns are the required columns.
var supabaseColumns = []string{"email", "encrypted_password"}

func supabaseOfRow(names, row []string) (s supabaseUser) {
	for i, value := range row {
		if strings.EqualFold(value, "null") {
			value = ""
		}
		switch names[i] {
		case "email":
			s.Email = value
		case "encrypted_password":
			s.Hash = value
		case "raw_user_meta_data":
			s.Data = jsontext.Value(value)
		case "banned_until":
			s.BannedTo = value
		case "deleted_at":
			s.Deleted = value
		}
	}
	return s
}

// supabaseTimes are the forms of times in exports of Postgres.
var supabaseTimes = []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z07"}

func (s supabaseUser) user(now time.Time) (User, error) {
	u := User{Email: s.Email, Hash: s.Hash, Locked: s.BannedTo != ""}
	for _, form := range supabaseTimes {
		if until, err := time.Parse(form, s.BannedTo); err == nil {
			u.Locked = until.After(now)
		}
	}
	var text string
	if json.Unmarshal(s.Data, &text) == nil {
		s.Data = jsontext.Value(text)
	}
	var data struct {
		FullName string `json:"full_name"`
		Name     string `json:"name"`
	}
	if len(s.Data) > 0 && json.Unmarshal(s.Data, &data, lenient) == nil { // users write it: any form is possible
		if u.Name = data.FullName; u.Name == "" {
			u.Name = data.Name
		}
	}
	if s.Deleted != "" {
		return u, errors.New("the user was deleted")
	}
	return u, nil
}

// Firebase has the parameters of a project's password hashes, which its console shows.
type Firebase struct {
	signer, separator []byte
	rounds, memCost   uint32
}

// firebaseParameter is one parameter in the text of the console.
var firebaseParameter = regexp.MustCompile(`(?m)\b(algorithm|base64_signer_key|base64_salt_separator|rounds|mem_cost)"?\s*[:=]\s*"?([A-Za-z0-9+/=_-]*)`)

// ParseFirebase reads the parameters as the console shows them:
//
//	hash_config {
//	  algorithm: SCRYPT,
//	  base64_signer_key: KEY,
//	  base64_salt_separator: SEPARATOR,
//	  rounds: 8,
//	  mem_cost: 14,
//	}
//
// The error contains no value.
func ParseFirebase(text string) (*Firebase, error) {
	values := make(map[string]string)
	for _, m := range firebaseParameter.FindAllStringSubmatch(text, -1) {
		values[m[1]] = m[2]
	}
	if a := values["algorithm"]; a != "" && a != "SCRYPT" {
		return nil, errors.New("the algorithm is not SCRYPT")
	}
	signer, err1 := anyBase64(values["base64_signer_key"])
	separator, err2 := anyBase64(values["base64_salt_separator"])
	rounds, err3 := strconv.ParseUint(values["rounds"], 10, 16)
	memCost, err4 := strconv.ParseUint(values["mem_cost"], 10, 16)
	if err := errors.Join(err1, err2, err3, err4); err != nil || len(signer) == 0 {
		return nil, errors.New("base64_signer_key, base64_salt_separator, rounds or mem_cost is missing or malformed")
	}
	return &Firebase{signer, separator, uint32(rounds), uint32(memCost)}, nil
}

// anyBase64 decodes both alphabets, with and without padding.
func anyBase64(text string) ([]byte, error) {
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	return base64.RawStdEncoding.DecodeString(text)
}

// firebaseUser is a user in the JSON of firebase auth:export.
type firebaseUser struct {
	Email    string `json:"email"`
	Hash     string `json:"passwordHash"`
	Salt     string `json:"salt"`
	Name     string `json:"displayName"`
	Disabled bool   `json:"disabled"`
}

func (f *Firebase) user(x firebaseUser) (User, error) {
	u := User{Email: x.Email, Name: x.Name, Locked: x.Disabled}
	if x.Hash == "" {
		return u, nil
	}
	hash, err := anyBase64(x.Hash)
	salt, err2 := anyBase64(x.Salt)
	if err != nil || err2 != nil {
		return u, errors.New("passwordHash or salt is not base64")
	}
	stored, err := pwhash.Firebase(f.memCost, f.rounds, f.separator, f.signer, salt, hash)
	if err != nil {
		return u, fmt.Errorf("the hash cannot be used: %s", strings.TrimPrefix(err.Error(), pwhash.ErrMalformed.Error()+": "))
	}
	u.Hash = stored.String()
	return u, nil
}
