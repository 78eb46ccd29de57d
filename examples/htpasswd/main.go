// htpasswd protects pages with a password file. Each line is USER:HASH, as Apache's program
// htpasswd writes it; with -add this program writes one too:
//
//	echo 'open sesame' | go run ./htpasswd -file users -add ada
//	go run ./htpasswd -file users
//	curl -u 'ada:open sesame' http://127.0.0.1:8080/
//
// The file is read again when it changes: a removed line locks its user out within a second.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/htpasswd"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	file := flag.String("file", "users", "password file")
	add := flag.String("add", "", "add this user with the password on standard input, and exit")
	flag.Parse()
	if *add != "" {
		if err := addUser(*file, *add); err != nil {
			log.Fatal(err)
		}
		return
	}

	users, err := htpasswd.Open(htpasswd.Config{Path: *file})
	if err != nil {
		log.Fatal(err) // the file cannot be used; a line with a mistake disables its user alone and is logged
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello,", durward.From(r.Context()).Subject)
	})
	log.Fatal(http.ListenAndServe(*listen, durward.Protect(hello, users.Basic())))
}

// addUser appends a line with an argon2id hash to the file. It reads the password from standard
// input, because every user of the machine can read arguments. Of two lines of a user the first
// counts: to change a password, remove the old line.
func addUser(path, user string) error {
	password, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the password: %w", err)
	}
	line, err := htpasswd.Line(user, strings.TrimRight(password, "\r\n"))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, line); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
