package durward

// Param is one auth-param.
type Param struct{ Name, Value string }

// Challenge is one challenge.
type Challenge struct {
	Scheme, Token68 string
	Params          []Param
}

// Credentials is one set of credentials.
type Credentials struct {
	Scheme, Token68 string
	Params          []Param
}
