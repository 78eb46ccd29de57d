// embedded runs a whole Durward server inside a program, below /auth/, and guards the program's own page
// with it:
//
//	go run ./embedded
//
// Open http://localhost:8080/ in a browser: it leads to the sign-in page and, after the sign-in as
// ada@example.com with the password "correct horse battery staple", back to the page. Data and mails are in
// ./embedded-data.
package main

import (
	"context"
	"errors"
	"flag"
	"html/template"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server"
)

// page is the program's own page.
var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Notes</title>
<h1>Notes</h1>
<p>You are signed in as <code id="subject">{{.Subject}}</code>.</p>
<p><a href="/auth/account">Your account</a></p>
</html>
`))

func main() {
	listen := flag.String("listen", "localhost:8080", "address to listen on")
	data := flag.String("data", "embedded-data", "folder of the data")
	flag.Parse()
	log.SetFlags(0)

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	origin := "http://localhost:" + port

	srv, err := server.New(server.Config{Folder: *data, PublicURL: origin + "/auth"})
	if err != nil {
		log.Fatal(err)
	}
	addUser(srv)
	mux := http.NewServeMux()
	mux.Handle("/auth/", srv)
	mux.Handle("/.well-known/", srv)
	mux.Handle("/", srv.Guard().Handler(http.HandlerFunc(notes)))

	web := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() {
		<-ctx.Done()
		srv.Drain()
		_ = web.Shutdown(context.Background()) // it waits for the requests
	}()
	log.Printf("open %s/ and sign in as %s with the password %q", origin, email, password)
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		log.Print(err)
	}
	if err := srv.Close(); err != nil {
		log.Print(err)
	}
}

// notes shows the page of the user who asks for it.
func notes(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, durward.From(r.Context())); err != nil {
		log.Print(err)
	}
}

// The user of this example. Its password is public: do not use it elsewhere.
const (
	email    = "ada@example.com"
	password = "correct horse battery staple"
)

// addUser adds the user at the first start.
func addUser(srv *server.Server) {
	_, err := srv.AddUser(context.Background(), server.User{Email: email, Name: "Ada", Password: password})
	if err != nil && !errors.Is(err, durward.EmailTaken) {
		log.Fatal(err)
	}
}
