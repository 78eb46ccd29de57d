package doctor

import (
	"slices"
	"testing"
)

// TestVocabulary reads one sentence for each kind of pair, in the languages of many servers.
func TestVocabulary(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Access token timed out":                       "expired",
		"Das Token ist abgelaufen.":                    "expired",
		"Le jeton a expiré":                            "expired",
		"El token ha caducado":                         "expired",
		"令牌已过期":                                        "expired",
		"トークンの有効期限が切れています":                             "expired",
		"срок действия токена истек":                   "expired",
		"Benutzername oder Passwort falsch":            "wrong-secret",
		"Identifiants incorrects":                      "wrong-secret",
		"Usuario o contraseña incorrectos":             "wrong-secret",
		"Credenciais inválidas":                        "wrong-secret",
		"密码错误":                                         "wrong-secret",
		"Неверный пароль":                              "wrong-secret",
		"Your passcode was rejected":                   "wrong-secret",
		"Ihr Konto wurde deaktiviert":                  "account-not-active",
		"La cuenta está suspendida":                    "account-not-active",
		"账号已被禁用":                                       "account-not-active",
		"Your profile is frozen":                       "account-not-active",
		"Compte bloqué: trop de tentatives":            "account-not-active",
		"Benutzerkonto gesperrt":                       "account-locked",
		"Keine Berechtigung":                           "not-permitted",
		"Permiso denegado":                             "not-permitted",
		"权限不足":                                         "not-permitted",
		"没有权限":                                         "not-permitted",
		"La sesión ha expirado":                        "session-ended",
		"Sitzung abgelaufen":                           "session-ended",
		"Signatur ungültig":                            "bad-signature",
		"签名错误":                                         "bad-signature",
		"the audience of the token is unacceptable":    "wrong-audience",
		"assertion recipient mismatch":                 "wrong-audience",
		"OAuth client is not enabled":                  "oauth-client-refused",
		"The clock of the request is off: time is too": "",
		"PAT was withdrawn":                            "revoked",
		"If the token is expired, get a new one":       "",
		"token is not expired":                         "",
		"This page is about tokens":                    "",
	} {
		var topics []string
		for _, f := range lexis().pairsIn(normalise(text)) {
			topics = append(topics, f.topic)
		}
		if want == "" && len(topics) > 0 || want != "" && !slices.Contains(topics, want) {
			t.Errorf("%q: got %q, want %q", text, topics, want)
		}
	}
	for pair, topic := range lexis().pairs {
		if _, ok := CauseByID(topic); !ok && !vague[topic] {
			t.Errorf("%q: no cause is called %q", pair, topic)
		}
	}
}
