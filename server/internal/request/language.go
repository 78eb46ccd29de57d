package request

import "golang.org/x/text/language"

// Languages are the languages of the texts for users, the default first.
var Languages = []string{"en", "de"}

var languages = language.NewMatcher([]language.Tag{language.English, language.German})

// maxLanguages is the number of octets of Accept-Language that are read. Browsers send less than 200.
const maxLanguages = 500

// Language returns the one of Languages that fits an Accept-Language field best (RFC 9110 s12.5.4),
// empty if the field names none of them.
func Language(field string) string {
	if len(field) > maxLanguages {
		return ""
	}
	wanted, _, err := language.ParseAcceptLanguage(field)
	if err != nil || len(wanted) == 0 {
		return ""
	}
	if _, at, fit := languages.Match(wanted...); fit != language.No {
		return Languages[at]
	}
	return ""
}
