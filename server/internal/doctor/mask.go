package doctor

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
)

// secretFields are the names of fields with a secret, in lower case.
var secretFields = map[string]bool{
	"authorization": true, "proxy-authorization": true, "cookie": true, "set-cookie": true, "dpop": true,
	"x-api-key": true, "api-key": true, "apikey": true, "x-auth-token": true, "x-access-token": true, "x-amz-security-token": true,
	"x-csrf-token": true, "x-xsrf-token": true, "x-goog-api-key": true, "x-vault-token": true, "private-token": true, "job-token": true,
	"ocp-apim-subscription-key": true, "x-functions-key": true, "x-shopify-access-token": true, "x-figma-token": true, "cf-access-jwt-assertion": true,
	"cf-access-client-secret": true, "x-forwarded-access-token": true, "x-id-token": true, "x-refresh-token": true, "x-session-token": true,
}

// secretName matches other names of fields and parameters with a secret.
var secretName = regexp.MustCompile(`(?i)(^|[-_.])(token|secret|password|passwd|pwd|api[-_]?key|access[-_]?key|signature|sig|jwt|session(id)?|auth|code|assertion|credential)$`)

// SecretField reports whether a field of this name holds a secret.
func SecretField(name string) bool {
	name = strings.ToLower(name)
	return secretFields[name] || secretName.MatchString(name) && name != "x-amz-content-sha256"
}

// MaskSecret returns a text in place of a secret: its length and 8 hexadecimal digits of its
// SHA-256.
func MaskSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return fmt.Sprintf("…(%d octets, sha256 %x)", len(secret), sum[:4])
}

// secretShape matches secrets by their shape: JSON Web Tokens, well-known prefixes, and the values of
// known parameters of an address.
var secretShape = regexp.MustCompile(
	`eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*` +
		`|\b(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{8,}|\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_[A-Za-z0-9_]{16,}|\bglpat-[A-Za-z0-9_-]{16,}` +
		`|\bxox[abeprs]-[A-Za-z0-9-]{8,}|\bAKIA[A-Z0-9]{12,}|\bdak_[A-Za-z0-9_-]{8,}`)

var secretParameter = regexp.MustCompile(`(?i)([?&;#](?:[a-z0-9_.-]*(?:token|secret|password|passwd|api[-_]?key|apikey|signature|jwt|assertion)|sig|key|code|state|auth)=)([^&;#\s"'<>]+)`)

// userPart matches the user part of an address.
var userPart = regexp.MustCompile(`(?i)(\b[a-z][a-z0-9+.-]{1,20}://)([^/?#\s@]+)@`)

// Mask returns text with a mask in place of each secret that its shape shows.
func Mask(text string) string {
	text = userPart.ReplaceAllString(text, "${1}…@")
	text = secretParameter.ReplaceAllStringFunc(text, func(m string) string {
		name, value, _ := strings.Cut(m, "=")
		return name + "=" + MaskSecret(value)
	})
	return secretShape.ReplaceAllStringFunc(text, MaskSecret)
}
