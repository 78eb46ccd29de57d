// Dex runs the issuer of that name with its store in memory. Standard input: {address, web: its folder
// of pages, client, secret, redirect}. Every user signs in as the one of its mock connector.
// POST /advance with by=7h advances its clock.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/dexidp/dex/server"
	"github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/memory"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
)

func main() {
	var c struct{ Address, Web, Client, Secret, Redirect string }
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		log.Fatal(err)
	}
	logger := logrus.New()
	store := storage.WithStaticConnectors(
		storage.WithStaticClients(memory.New(logger), []storage.Client{{
			ID:           c.Client,
			Secret:       c.Secret,
			RedirectURIs: []string{c.Redirect},
		}, {
			ID:     "native",
			Name:   "a program on the user's machine",
			Public: true,
		}}),
		[]storage.Connector{{
			ID:   "mock",
			Type: "mockCallback",
			Name: "mock",
		}},
	)

	// A server rotates a due key when it starts. Its own check runs every 30 s.
	var ahead atomic.Int64
	var current atomic.Pointer[server.Server]
	open := func() {
		s, err := server.NewServer(context.Background(), server.Config{
			Issuer:             "http://" + c.Address,
			Storage:            store,
			SkipApprovalScreen: true,
			Now:                func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
			Web:                server.WebConfig{Dir: c.Web},
			Logger:             logger,
			PrometheusRegistry: prometheus.NewRegistry(),
		})
		if err != nil {
			log.Fatal(err)
		}
		current.Store(s)
	}
	open()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /advance", func(w http.ResponseWriter, r *http.Request) {
		by, err := time.ParseDuration(r.FormValue("by"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ahead.Add(int64(by))
		open()
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { current.Load().ServeHTTP(w, r) })
	log.Fatal(http.ListenAndServe(c.Address, mux))
}
