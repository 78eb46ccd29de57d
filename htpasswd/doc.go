// Package htpasswd reads users from files: password files of Apache, nginx and lighttpd for
// [durward.Basic], and htdigest files for [durward.Digest].
//
// A password file has a line for each user, made with htpasswd -B -C 10 or by [Line]:
//
//	ada:$2y$12$...
//	grace:$argon2id$v=19$m=19456,t=2,p=1$...
//
// A guard for an API with the users of the file:
//
//	users, err := htpasswd.Open(htpasswd.Config{Path: "/etc/notes/users"})
//	if err != nil {
//		log.Fatal(err)
//	}
//	api := durward.Protect(mux, users.Basic())
//
// # Reloading
//
// A [File] checks passwords, a [DigestFile] returns the hashes that Digest computes with. Both read the
// whole file. Requests check it for changes at most twice a second, and read it again if its size,
// modification time, mode or inode has changed. A removed user and an old password are refused within
// a second, even if [durward.Remember] remembers the password, as [File.Basic] does.
//
// Replace the file as a whole, by renaming a new one. A file that was modified less than a tenth of a
// second ago may be half written, as htpasswd leaves it for a moment. It is read when it has been
// unchanged for that time, or after three tenths of a second.
//
// # Hashes
//
// Always accepted: bcrypt ($2a$, $2b$, $2y$) of cost 4 to 14, and argon2id (a PHC string) with at
// most 256 MiB in one pass, 128 MiB in two, and so on to 16 passes. SHA-1 ({SHA}) and crypt ($apr1$,
// $1$, $5$, $6$) need an option of [Config], because they are cheap to attack if the file leaks. Plain
// text and DES are never accepted: they look alike, and DES uses only eight characters of a password.
//
// By default htpasswd makes $apr1$. The Go library for it, github.com/GehirnInc/crypt, computes the same
// as Apache but has had no release since 2023. Prefer htpasswd -B -C 10; without -C the cost of 5 is
// too low (OWASP asks for at least 10).
//
// A password is normalized before it is hashed (RFC 8265 s4.2, OpaqueString: Unicode NFC, every kind
// of space becomes a space). A password that is too long for its hash is refused, never cut: the limit
// is 72 bytes for bcrypt and 511 for crypt. User names are compared byte by byte in NFC.
//
// # Guarantees
//
// Every check computes one hash of each kind and cost in the file, including the user's own. So the
// response time does not reveal whether the user exists or the password is correct. It is the sum of
// all hashes, so use one cost in a file. A file without users takes the time of a hash by [Line]. A
// file may have 16 costs.
//
// [Config] limits the number of hashes at the same time. If the queue is full, the error is
// [durward.AuthUnavailable], and no hash was computed.
//
// If the file cannot be read, is not in UTF-8 or has no line that can be used, the error has no
// [durward.Code], so that the response is 503, not 401. It ends when the file is repaired. Limits: 16 MiB
// for the file, 1024 bytes for a line, 100,000 users.
//
// # Lines
//
// A line with a mistake, such as an unknown or too costly hash, disables its user alone: a sign-in is
// refused like a wrong password. Config.Log gets a warning with the number of the line, and the error of
// the refusal names it too. Neither contains any part of the line.
//
// The text after the hash and a colon is a comment. Blanks around user name and hash are ignored. A hash
// that begins with ! or * locks its user. If a user has two lines, the first counts and the other is
// logged. The parameters of argon2id may have any order. A file for Digest may have a line of the user for
// each algorithm: there a line with a mistake leaves the hashes of the others, and a lock holds for all.
//
// # Limits of the package
//
// Failures are not counted: wrap [File.Check], or set Judged of [durward.DigestConfig], and refuse with
// [durward.TooManyAttempts]. The package does not write files; [Line] and [DigestLine] return lines.
// It does not read groups and DBM files.
package htpasswd
