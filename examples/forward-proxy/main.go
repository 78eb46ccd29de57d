// forward-proxy authenticates its users with passwords, forwards http and tunnels https:
//
//	PROXY_PASSWORD='open sesame' go run ./forward-proxy
//	curl -x http://127.0.0.1:3128 --proxy-digest -U 'ada:open sesame' https://example.com/
//
// A proxy runs inside a private network. It connects only to ports 80 and 443 of public addresses,
// unless -anywhere is set, so that its users, and pages in their browsers, cannot reach other hosts
// of that network or the metadata service of a cloud. The address is checked when the connection is
// made, because the name may resolve to another address later.
package main

import (
	"context"
	"crypto/subtle"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/durward-auth/durward"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:3128", "address; beyond loopback, passwords are taken over https only")
	anywhere := flag.Bool("anywhere", false, "connect to private addresses and all ports too")
	flag.Parse()
	ada := &durward.Principal{Subject: "ada"}
	secret, err := durward.HA1("SHA-256", ada.Subject, "proxy", os.Getenv("PROXY_PASSWORD"))
	if err != nil || os.Getenv("PROXY_PASSWORD") == "" {
		log.Fatalln("PROXY_PASSWORD is not set", err)
	}
	digest := durward.Digest(durward.DigestConfig{HA1: func(_ context.Context, claim durward.DigestClaim) ([]byte, *durward.Principal, error) {
		if claim.User != ada.Subject {
			return nil, nil, durward.InvalidCredentials
		}
		return secret, ada, nil
	}})
	basic := durward.Basic(func(_ context.Context, user, password string) (*durward.Principal, error) {
		if sent, err := durward.HA1("SHA-256", user, "proxy", password); err != nil || subtle.ConstantTimeCompare(sent, secret) == 0 {
			return nil, durward.InvalidCredentials
		}
		return ada, nil
	})
	dialer := net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		to := netip.MustParseAddrPort(address) // in the form of package net
		ip, shared := to.Addr().Unmap(), netip.MustParsePrefix("100.64.0.0/10")
		if !*anywhere && (!ip.IsGlobalUnicast() || ip.IsPrivate() || shared.Contains(ip) || to.Port() != 80 && to.Port() != 443) {
			return durward.Forbidden
		}
		return nil
	}}
	forward := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: &http.Transport{DialContext: dialer.DialContext}}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			forward.ServeHTTP(w, r) // the request line names the origin
		} else if origin, err := dialer.DialContext(r.Context(), "tcp", r.Host); err != nil {
			http.Error(w, "The origin cannot be reached.", http.StatusBadGateway)
		} else if client, sent, err := http.NewResponseController(w).Hijack(); err == nil {
			_, _ = io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
			go func() { _, _ = io.Copy(origin, sent); _ = origin.Close() }()
			_, _ = io.Copy(client, origin)
			_ = client.Close()
		}
	})
	guard, err := durward.New(durward.Config{Realm: "proxy", Schemes: []durward.Scheme{digest, basic},
		OnAccept:  func(r *http.Request, p *durward.Principal) { log.Println(r.Method, r.Host, p.Subject, "by", p.Scheme) },
		OnRefusal: func(r *http.Request, f *durward.Refusal) { log.Println(r.Method, r.Host, f) }})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal((&http.Server{Addr: *listen, Handler: guard.Proxy(durward.Policy{}, handler), ReadHeaderTimeout: 10 * time.Second}).ListenAndServe())
}
