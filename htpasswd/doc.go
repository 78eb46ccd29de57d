// Package htpasswd keeps people in files: password files for [durward.Basic], as
// Apache, nginx and lighttpd read them, and files of hashes for [durward.Digest].
//
// A password file, a line for each person, made with htpasswd -B -C 10 or by [Line]:
//
//	ada:$2y$12$...
//	grace:$argon2id$v=19$m=19456,t=2,p=1$...
//
// and the guard in front of an API:
//
//	users, err := htpasswd.Open(htpasswd.Config{Path: "/etc/notes/users"})
//	if err != nil {
//		log.Fatal(err)
//	}
//	api := durward.Protect(mux, users.Basic())
//
// # Model
//
// A [File] is a password file and judges passwords; a [DigestFile] hands out what
// Digest computes with. Both are read whole and looked at again at most twice a
// second, when a request comes: a change of size, time, mode or inode is read
// anew. A person who is gone, and a password that was changed, are dead within a
// second, also where [durward.Remember] remembers them ([File.Basic] does).
//
// The file is best replaced as a whole, by a rename. One that was written less
// than a tenth of a second ago may be half written, as htpasswd leaves it for a
// moment: it is taken over when it has been at rest that long, or after three
// tenths of a second.
//
// # Hashes
//
// bcrypt ($2a$, $2b$, $2y$) of cost 4 to 14 and argon2id (a PHC string) of at most
// 256 MiB and 16 passes are read without more. SHA-1 ({SHA}) and the hashes of
// crypt ($apr1$, $1$, $5$, $6$) cost an attacker too little to be left in a file
// that may leak, and are read only where [Config] says so. Plain text and DES are
// never read: nothing tells them apart, and DES looks at eight characters of a
// password.
//
// htpasswd makes $apr1$ where no option says otherwise. No Go library for it is
// developed any more; the one used here, github.com/GehirnInc/crypt, computes
// what Apache does but has had no release since 2023. Prefer htpasswd -B -C 10: the
// tool's own cost of 5 is too cheap (OWASP asks for at least 10).
//
// A password is brought to one spelling before it is hashed (RFC 8265 s4.2,
// OpaqueString: Unicode NFC, every kind of space is a space). One that is longer
// than its hash can hold is refused, never cut: 72 bytes for bcrypt, 511 for the
// hashes of crypt. User names are compared in NFC, and otherwise byte for byte.
//
// # Guarantees
//
// Every check computes one hash of each kind and cost that stands in the file,
// the person's own among them, whether the name exists or not and whether the
// password is right or not. So the time of an answer tells nothing, also while
// hashes of several costs stand side by side; but it is the sum of all of them, so
// a file should be brought to one cost. A file without people costs what a new
// hash of [Line] costs. At most 16 costs may stand in a file.
//
// No more hashes are computed at once than [Config] allows; who finds the queue
// full gets [durward.AuthUnavailable], and no work was done.
//
// A file that cannot be read, or that has a mistake, is an error without a
// [durward.Code], so that it is a 503 and never a 401; it heals when the file does.
// All mistakes of a file are reported together, each with its line, and nothing
// that stands in the file is repeated. The size of a file (16 MiB), of a line
// (1024 bytes) and the number of its lines (100,000 people) are bounded.
//
// # Not done here
//
// Failures are not counted: wrap [File.Check], or set Judged of
// [durward.DigestConfig], and refuse with [durward.TooManyAttempts]. Files are not
// written; [Line] and [DigestLine] return what is to be written. Groups and DBM
// files are not read.
package htpasswd
