package attack

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/durward-auth/durward/e2e/executable"
)

// unbounded marks an attack without a limit on the number of judged secrets.
const unbounded = -1

// attack is one way to guess secrets.
type attack struct {
	url     string
	changes string // what differs between two guesses
	judged  string // the response to a wrong secret that was judged
	hash    bool   // judging takes a password hash

	// most is the number of secrets that are judged at most. With perMinute it holds for each
	// minute. It is twice the limit of a server that counts by calendar minutes or hours, of which
	// an attack may meet two.
	most      int
	perMinute bool

	// stored means that the counter is in the database, so that it holds without Redis.
	stored bool

	// shared means that guesses at the same time with one secret share one judgment, so that each of
	// the connections may get its answer.
	shared bool

	guesses int                                 // in a short run
	prepare func(cl *cluster) func(i int) guess // returns the guesses
	halfway func(cl *cluster)                   // called between two halves of the guesses; may be nil
}

// result holds the figures of one attack.
type result struct {
	name, changes string
	sent          int
	most          string
	answers       map[string]int
	judged        int
	alone         bool    // a node counted alone, without Redis
	hashes        float64 // processor time in units of a hash, without the bystanders' sign-ins
	cpu, took     time.Duration
	peak, rss     int // KiB
	seen          seen
}

var figures struct {
	sync.Mutex
	all []result
}

// attackers is the number of connections that guess at the same time.
const attackers = 4

// run makes the attack as a subtest of t and checks the number of judged secrets, the processor
// time and the memory.
func (a attack) run(t *testing.T, cl *cluster, b *bystanders) {
	t.Run(a.url+", changes "+a.changes, func(t *testing.T) {
		cl.t = t
		a.check(cl, a.make(cl, b))
	})
	cl.t = t
}

// make makes the attack and measures it.
func (a attack) make(cl *cluster, b *bystanders) result {
	next := a.prepare(cl)
	r := result{name: a.url, changes: a.changes, answers: make(map[string]int), most: "unbounded"}
	alone := cl.alone()
	var sent atomic.Int64
	var mu sync.Mutex
	part := 1
	if a.halfway != nil {
		part = 2
	}
	guessAll := func(until int64) {
		before, began := cl.cpu(), time.Now()
		var all sync.WaitGroup
		for range attackers {
			all.Go(func() {
				client, network := executable.ClientFrom(""), ""
				defer func() { client.CloseIdleConnections() }()
				for {
					n := sent.Add(1)
					if long && time.Since(began) > length/time.Duration(part) || !long && n > until {
						sent.Add(-1)
						return
					}
					g := next(int(n - 1))
					if g.network != network {
						client.CloseIdleConnections()
						client, network = executable.ClientFrom(g.network), g.network
					}
					answer, err := g.sendBy(client, cl)
					what := answer.String()
					if err != nil {
						what = "no response"
						cl.t.Errorf("guess %d: %v", n, err)
					}
					mu.Lock()
					r.answers[what]++
					mu.Unlock()
				}
			})
		}
		all.Wait()
		r.cpu += cl.cpu() - before
		r.took += time.Since(began)
		for _, n := range cl.nodes {
			r.peak = max(r.peak, n.memory("VmHWM"))
			r.rss = max(r.rss, n.memory("VmRSS"))
		}
	}
	for _, n := range cl.nodes {
		n.resetPeak()
	}
	b.take()
	guessAll(int64(a.guesses / part))
	if a.halfway != nil {
		a.halfway(cl)
		guessAll(int64(a.guesses))
	}
	r.seen = b.take()
	r.alone = cl.alone() > alone
	r.sent, r.judged = int(sent.Load()), r.answers[a.judged]
	r.hashes = float64(r.cpu)/float64(cl.hash) - float64(len(r.seen.took[known])-r.seen.refused(known))
	if a.most != unbounded {
		r.most = fmt.Sprint(a.bound(cl, r))
	}
	r.report()
	return r
}

// bound returns the number of secrets that may be judged in the time of r.
func (a attack) bound(cl *cluster, r result) int {
	most := a.most
	if a.perMinute {
		most *= 1 + int(r.took.Minutes())
	}
	if r.alone && !a.stored {
		most *= len(cl.nodes)
		if a.halfway != nil {
			most *= 2
		}
	}
	return most
}

// check checks the figures of the attack.
func (a attack) check(cl *cluster, r result) {
	t := cl.t
	t.Helper()
	if r.judged == 0 {
		t.Errorf("%d guesses: got %v, want at least one %s", r.sent, r.answers, a.judged)
	}
	judged, most := r.judged, a.bound(cl, r)
	if a.shared {
		judged = (judged + attackers - 1) / attackers
	}
	if a.most != unbounded && judged > most {
		t.Errorf("%d guesses: got %d secrets judged, want at most %d: %v", r.sent, judged, most, r.answers)
	}
	// Any work but a hash takes a small part of a tenth of one. The rest is tolerance. The hashes of a short
	// run are cheap, and other tests share its machine, so it only detects a hash for each guess.
	wanted := float64(r.sent)/10 + 10
	if !long {
		wanted = float64(r.sent)/2 + 10
	}
	if a.hash {
		wanted += 2 * float64(judged)
	}
	if r.hashes > wanted {
		t.Errorf("%d guesses: got processor time of %.0f hashes, want at most %.0f: %v", r.sent, r.hashes, wanted, r.answers)
	}
	if bound := cl.memoryBound(); r.peak > bound {
		t.Errorf("memory: got %d MiB, want at most %d", r.peak>>10, bound>>10)
	}
	if a.halfway == nil {
		r.checkBystanders(t)
	}
}

// quick is the time in which a long run wants 99 of 100 cheap requests answered.
const quick = 100 * time.Millisecond

// checkBystanders checks that no bystander was refused and, in a long run, that cheap requests were
// quick.
func (r result) checkBystanders(t *testing.T) {
	t.Helper()
	for kind, failed := range r.seen.failed {
		if len(failed) > 0 {
			t.Errorf("%s beside the attack: got %v of %d, want 200 only", bystanderNames[kind], failed, len(r.seen.took[kind]))
		}
	}
	for _, kind := range []int{keySet, bearer} {
		if p99 := r.seen.quantile(kind, 0.99); long && p99 > quick {
			t.Errorf("%s beside the attack: got a 99th percentile of %s, want at most %s", bystanderNames[kind], p99, quick)
		}
	}
}

// report adds r to the table.
func (r result) report() {
	figures.Lock()
	defer figures.Unlock()
	figures.all = append(figures.all, r)
}

// memoryBound returns the memory in KiB that a node may take while it is attacked. In a short run other
// tests take the processors from the garbage collector, so more may be left for a moment.
func (cl *cluster) memoryBound() int {
	bound := cl.base + max(1, runtime.NumCPU()-1)*cl.memory + 64<<10
	if !long {
		bound += 32 << 10
	}
	return bound
}

func (cl *cluster) cpu() (sum time.Duration) {
	for _, n := range cl.nodes {
		sum += n.cpu()
	}
	return sum
}

// printFigures prints the results of all attacks.
func printFigures(w io.Writer) {
	figures.Lock()
	defer figures.Unlock()
	if len(figures.all) == 0 {
		return
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join([]string{
		"URL", "attacker changes", "sent", "judged", "at most", "429", "503", "CPU s", "seconds", "CPU s/min", "CPU ms/guess",
		"hashes", "peak MiB", "JWKS p50/p99", "Bearer p50/p99", "sign-in p50/p99", "refused",
	}, "\t"))
	for _, r := range figures.all {
		busy, limited := 0, 0
		for answer, n := range r.answers {
			if strings.HasPrefix(answer, "503") {
				busy += n
			}
			if strings.HasPrefix(answer, "429") {
				limited += n
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\t%d\t%d\t%.2f\t%.1f\t%.1f\t%.2f\t%.0f\t%d",
			r.name, r.changes, r.sent, r.judged, r.most, limited, busy, r.cpu.Seconds(), r.took.Seconds(),
			r.cpu.Seconds()/r.took.Minutes(), r.cpu.Seconds()*1000/float64(r.sent), r.hashes, r.peak>>10)
		for kind := range bystanderKinds {
			fmt.Fprintf(table, "\t%s/%s", short(r.seen.quantile(kind, 0.5)), short(r.seen.quantile(kind, 0.99)))
		}
		fmt.Fprintf(table, "\t%d of %d\n", r.seen.refused(known), len(r.seen.took[known]))
	}
	_ = table.Flush() // standard output
}

func short(d time.Duration) string {
	if d > 100*time.Millisecond {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}

const (
	wrongPassword = "401 INVALID_CREDENTIALS"
	badRefresh    = "401 REFRESH_INVALID"
	emailTaken    = "409 EMAIL_TAKEN"
)

// wrong returns a wrong password for each number.
func wrong(i int) string { return fmt.Sprintf("a wrong password, number %d", i) }

// from sets the network of a guess.
func (g guess) from(network string) guess {
	g.network = network
	return g
}

// at sets the node of a guess.
func (g guess) at(node int) guess {
	g.node = node
	return g
}

func basic(email, password string) guess {
	text := base64.StdEncoding.EncodeToString([]byte(email + ":" + password))
	return guess{method: "GET", path: "/api/profile"}.with("Authorization", "Basic "+text)
}

func stepUp(password string) guess {
	return guess{method: "POST", path: "/api/auth/step-up", body: object("password", password)}
}

func changePassword(current string) guess {
	return guess{
		method: "POST",
		path:   "/api/auth/password/change",
		body:   object("current", current, "new", "another fine and long password"),
	}
}

func register(email string) guess {
	return guess{method: "POST", path: "/api/auth/register", body: object("email", email, "password", password)}
}

func refresh(token string) guess {
	return guess{method: "POST", path: "/api/auth/refresh", body: object("refresh_token", token)}
}

// accessToken signs a new user in and returns the access token, for a thief.
func (cl *cluster) accessToken() string {
	return cl.mustSend(signIn(cl.user(), password), 200).text("access_token")
}

// forged returns text with another character before its last eight.
func forged(text string, i int) string {
	raw := []byte(text)
	const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	at := len(raw) - 9
	other := digits[i%len(digits)]
	if raw[at] == other {
		other = '-'
	}
	raw[at] = other
	return string(raw)
}

// endpoints are the attacks on one node.
var endpoints = []attack{{
	url: "login", changes: "password", judged: wrongPassword, hash: true, most: 5, guesses: 12,
	prepare: func(cl *cluster) func(int) guess {
		email, network := cl.user(), newNetwork()
		return func(i int) guess { return signIn(email, wrong(i)).from(network) }
	},
}, {
	url: "login", changes: "account", judged: wrongPassword, hash: true, most: 10, perMinute: true, guesses: 12,
	prepare: func(*cluster) func(int) guess {
		network := newNetwork()
		return func(i int) guess { return signIn(fmt.Sprintf("account-%d@example.com", i), wrong(0)).from(network) }
	},
}, {
	url: "login", changes: "spelling of the address", judged: wrongPassword, hash: true, most: 5, guesses: 12,
	prepare: func(cl *cluster) func(int) guess {
		email, network := cl.user(), newNetwork()
		return func(i int) guess {
			spelled := []byte(email)
			for bit := range strings.IndexByte(email, '-') {
				if i>>bit&1 == 1 {
					spelled[bit] -= 'a' - 'A'
				}
			}
			return signIn(strings.Repeat(" ", i%5)+string(spelled), wrong(i)).from(network)
		}
	},
}, {
	url: "login", changes: "nothing", judged: wrongPassword, hash: true, most: 1 + 30, perMinute: true, guesses: 40,
	prepare: func(cl *cluster) func(int) guess {
		email, network := cl.user(), newNetwork()
		return func(int) guess { return signIn(email, wrong(0)).from(network) }
	},
}, {
	url: "login, unknown user", changes: "nothing", judged: wrongPassword, hash: true, most: 1 + 30, perMinute: true,
	guesses: 40,
	prepare: func(*cluster) func(int) guess {
		network := newNetwork()
		return func(int) guess { return signIn("no-user@example.com", wrong(0)).from(network) }
	},
}, {
	url: "login", changes: "network, password", judged: wrongPassword, hash: true, most: 10, guesses: 24,
	prepare: func(cl *cluster) func(int) guess {
		email := cl.user()
		return func(i int) guess { return signIn(email, wrong(i)).from(newNetwork()) }
	},
}, {
	url: "login, right password", changes: "nothing", judged: "200", hash: true, most: 2 * 300, perMinute: true,
	guesses: 12,
	prepare: func(cl *cluster) func(int) guess {
		email, network := cl.user(), newNetwork()
		return func(int) guess { return signIn(email, password).from(network) }
	},
}, {
	url: "Basic", changes: "password", judged: wrongPassword, hash: true, most: 5, guesses: 12,
	prepare: func(cl *cluster) func(int) guess {
		email, network := cl.user(), newNetwork()
		return func(i int) guess { return basic(email, wrong(i)).from(network) }
	},
}, {
	url: "Basic", changes: "nothing", judged: wrongPassword, hash: true, most: 1 + 30, perMinute: true, shared: true,
	guesses: 240,
	prepare: func(cl *cluster) func(int) guess {
		email, network := cl.user(), newNetwork()
		return func(int) guess { return basic(email, wrong(0)).from(network) }
	},
}, {
	url: "login, Basic, step-up", changes: "password, URL", judged: wrongPassword, hash: true, most: 5, guesses: 12,
	prepare: func(cl *cluster) func(int) guess {
		email, network := cl.user(), newNetwork()
		token := cl.mustSend(signIn(email, password), 200).text("access_token")
		return func(i int) guess {
			return []guess{signIn(email, wrong(i)), basic(email, wrong(i)), stepUp(wrong(i)).bearer(token)}[i%3].from(network)
		}
	},
}, {
	url: "step-up", changes: "password", judged: wrongPassword, hash: true, most: 5, guesses: 12,
	prepare: func(cl *cluster) func(int) guess {
		token, network := cl.accessToken(), newNetwork()
		return func(i int) guess { return stepUp(wrong(i)).bearer(token).from(network) }
	},
}, {
	url: "step-up", changes: "network, password", judged: wrongPassword, hash: true, most: 5, guesses: 12,
	prepare: func(cl *cluster) func(int) guess {
		token := cl.accessToken()
		return func(i int) guess { return stepUp(wrong(i)).bearer(token).from(newNetwork()) }
	},
}, {
	url: "step-up", changes: "nothing", judged: wrongPassword, hash: true, most: 5, guesses: 12,
	prepare: func(cl *cluster) func(int) guess {
		token, network := cl.accessToken(), newNetwork()
		return func(int) guess { return stepUp(wrong(0)).bearer(token).from(network) }
	},
}, {
	url: "step-up by cookie", changes: "network, password", judged: wrongPassword, hash: true, most: 5,
	guesses: 12,
	prepare: func(cl *cluster) func(int) guess {
		cookie := cl.cookie()
		return func(i int) guess { return cl.samePage(stepUp(wrong(i)), cookie).from(newNetwork()) }
	},
}, {
	url: "password change", changes: "password", judged: wrongPassword, hash: true, most: 5, guesses: 12,
	prepare: func(cl *cluster) func(int) guess {
		token, network := cl.accessToken(), newNetwork()
		return func(i int) guess { return changePassword(wrong(i)).bearer(token).from(network) }
	},
}, {
	url: "password change", changes: "network, password", judged: wrongPassword, hash: true, most: 5, guesses: 12,
	prepare: func(cl *cluster) func(int) guess {
		token := cl.accessToken()
		return func(i int) guess { return changePassword(wrong(i)).bearer(token).from(newNetwork()) }
	},
}, {
	url: "step-up, password change", changes: "network, password, access token", judged: wrongPassword, hash: true,
	most: 5, guesses: 12,
	prepare: func(cl *cluster) func(int) guess {
		session := cl.mustSend(signIn(cl.user(), password), 200)
		tokens := []string{session.text("access_token")}
		for range 3 {
			session = cl.mustSend(refresh(session.text("refresh_token")), 200)
			tokens = append(tokens, session.text("access_token"))
		}
		return func(i int) guess {
			return []guess{stepUp(wrong(i)), changePassword(wrong(i))}[i%2].bearer(tokens[i/2%len(tokens)]).from(newNetwork())
		}
	},
}, {
	url: "register, taken address", changes: "address", judged: emailTaken, hash: true, most: 20, guesses: 30,
	prepare: func(cl *cluster) func(int) guess {
		network := newNetwork()
		var taken []string
		for range 10 {
			taken = append(taken, cl.user())
		}
		return func(i int) guess { return register(taken[i%len(taken)]).from(network) }
	},
}, {
	url: "register, taken address", changes: "network", judged: emailTaken, hash: true, most: 6, guesses: 12,
	prepare: func(cl *cluster) func(int) guess {
		email := cl.user()
		return func(int) guess { return register(email).from(newNetwork()) }
	},
}, {
	url: "register", changes: "address", judged: "201", hash: true, most: 20, guesses: 30,
	prepare: func(*cluster) func(int) guess {
		network := newNetwork()
		return func(i int) guess { return register(fmt.Sprintf("registered-%d@example.com", i)).from(network) }
	},
}, {
	url: "refresh, forged MAC", changes: "token", judged: badRefresh, most: 60, perMinute: true, guesses: 100,
	prepare: func(cl *cluster) func(int) guess {
		token, network := cl.mustSend(signIn(cl.user(), password), 200).text("refresh_token"), newNetwork()
		return func(i int) guess { return refresh(forged(token, i)).from(network) }
	},
}, {
	url: "refresh, forged MAC", changes: "network, token", judged: badRefresh, most: unbounded, guesses: 40,
	prepare: func(cl *cluster) func(int) guess {
		token := cl.mustSend(signIn(cl.user(), password), 200).text("refresh_token")
		return func(i int) guess { return refresh(forged(token, i)).from(newNetwork()) }
	},
}, {
	url: "API key, forged", changes: "key", judged: "401 INVALID_API_KEY", most: 60, perMinute: true, guesses: 100,
	prepare: func(cl *cluster) func(int) guess {
		create := guess{method: "POST", path: "/api/keys", body: object("name", "one")}.bearer(cl.accessToken())
		key, network := cl.mustSend(create, 201).text("key"), newNetwork()
		return func(i int) guess {
			return guess{method: "GET", path: "/api/profile"}.bearer(forged(key, i)).from(network)
		}
	},
}, {
	url: "cookie, forged", changes: "cookie", judged: "401 SESSION_EXPIRED", most: unbounded, guesses: 40,
	prepare: func(cl *cluster) func(int) guess {
		cookie, network := cl.cookie(), newNetwork()
		return func(i int) guess {
			return cl.samePage(guess{method: "GET", path: "/api/profile"}, forged(cookie, i)).from(network)
		}
	},
}, {
	url: "access token, forged", changes: "token", judged: "401 INVALID_TOKEN", most: unbounded, guesses: 40,
	prepare: func(cl *cluster) func(int) guess {
		token, network := cl.accessToken(), newNetwork()
		return func(i int) guess {
			return guess{method: "GET", path: "/api/profile"}.bearer(forged(token, i)).from(network)
		}
	},
}, {
	url: "logout, forged refresh token", changes: "token", judged: "204", most: unbounded, guesses: 40,
	prepare: func(cl *cluster) func(int) guess {
		token, network := cl.mustSend(signIn(cl.user(), password), 200).text("refresh_token"), newNetwork()
		return func(i int) guess {
			return guess{method: "POST", path: "/api/auth/logout", body: object("refresh_token", forged(token, i))}.from(network)
		}
	},
}, {
	url: "login", changes: "password; kill -9", judged: wrongPassword, hash: true, most: 10, guesses: 12,
	halfway: (*cluster).restart,
	prepare: func(cl *cluster) func(int) guess {
		email, network := cl.user(), newNetwork()
		return func(i int) guess { return signIn(email, wrong(i)).from(network) }
	},
}, {
	url: "step-up", changes: "network, password; kill -9", judged: wrongPassword, hash: true, most: 5, guesses: 12,
	halfway: (*cluster).restart,
	prepare: func(cl *cluster) func(int) guess {
		token := cl.accessToken()
		return func(i int) guess { return stepUp(wrong(i)).bearer(token).from(newNetwork()) }
	},
}}

// cookie signs a new user in and returns the session cookie, name and value.
func (cl *cluster) cookie() string {
	g := guess{method: "POST", path: "/api/auth/login"}
	g.body = fmt.Sprintf(`{"email":%q,"password":%q,"use_cookies":true}`, cl.user(), password)
	cookie, _, _ := strings.Cut(cl.mustSend(g, 200).header.Get("Set-Cookie"), ";")
	if !strings.HasPrefix(cookie, "__Host-durward=") {
		cl.t.Fatalf("sign-in with use_cookies: got the cookie %q, want __Host-durward", cookie)
	}
	return cookie
}

// samePage makes g a request of a page of the first node.
func (cl *cluster) samePage(g guess, cookie string) guess {
	return g.with("Cookie", cookie).with("Origin", cl.nodes[0].url).with("Sec-Fetch-Site", "same-origin")
}

// TestEndpoints attacks each URL that judges a secret.
func TestEndpoints(t *testing.T) {
	cl := newCluster(t, storage{nodes: 1})
	b := newBystanders(cl)
	defer b.end()
	for _, a := range endpoints {
		a.run(t, cl, b)
	}
}

// TestHashes sends right passwords, which no counter of failures limits: a network gets a number of
// hashes a minute. Basic with a remembered password costs none.
func TestHashes(t *testing.T) {
	most := 300 // the default
	if !long {
		most = 130 // the known bystander needs 120
	}
	cl := newCluster(t, storage{nodes: 1, env: []string{fmt.Sprint("DURWARD_LIMITS_NETWORK_HASHES=", most)}})
	b := newBystanders(cl)
	defer b.end()
	for _, a := range []attack{{
		url: "login, right password", hash: true, most: 2 * most, perMinute: true,
		prepare: func(cl *cluster) func(int) guess {
			email, network := cl.user(), newNetwork()
			return func(int) guess { return signIn(email, password).from(network) }
		},
	}, {
		url: "step-up, right password", hash: true, most: 2 * most, perMinute: true,
		prepare: func(cl *cluster) func(int) guess {
			token, network := cl.accessToken(), newNetwork()
			return func(int) guess { return stepUp(password).bearer(token).from(network) }
		},
	}, {
		url: "Basic, right password", most: unbounded,
		prepare: func(cl *cluster) func(int) guess {
			email, network := cl.user(), newNetwork()
			return func(int) guess { return basic(email, password).from(network) }
		},
	}} {
		a.changes, a.judged, a.guesses = "nothing", "200", 2*most+20
		a.run(t, cl, b)
	}
}

// TestIPv6 guesses from the /64 networks of one IPv6 /48, which a trusted proxy reports. The
// account is counted for each /64 and for all networks, the failures for the /48 too.
func TestIPv6(t *testing.T) {
	cl := newCluster(t, storage{nodes: 1, env: []string{"DURWARD_TRUSTED_PROXIES=127.0.0.0/8"}})
	b := newBystanders(cl)
	defer b.end()
	behind := func(g guess, i int) guess {
		return g.with("X-Forwarded-For", fmt.Sprintf("2001:db8:0:%x::1", i)).with("X-Forwarded-Proto", "https")
	}
	for _, a := range []attack{{
		changes: "IPv6 /64 of one /48, password", most: 10,
		prepare: func(cl *cluster) func(int) guess {
			email, network := cl.user(), newNetwork()
			return func(i int) guess { return behind(signIn(email, wrong(i)), i).from(network) }
		},
	}, {
		changes: "IPv6 /64 of one /48, account", most: 160, perMinute: true,
		prepare: func(*cluster) func(int) guess {
			network := newNetwork()
			return func(i int) guess {
				return behind(signIn(fmt.Sprintf("account-%d@example.com", i), wrong(0)), i).from(network)
			}
		},
	}} {
		a.url, a.judged, a.hash, a.guesses = "login", wrongPassword, true, 40
		a.run(t, cl, b)
	}
}

// TestNodes spreads guesses over two nodes, which count them together only with Redis.
func TestNodes(t *testing.T) {
	for _, s := range []storage{
		{name: "Postgres", nodes: 2, postgres: true},
		{name: "Postgres, Redis", nodes: 2, postgres: true, redis: true},
	} {
		t.Run(s.name, func(t *testing.T) {
			cl := newCluster(t, s)
			b := newBystanders(cl)
			defer b.end()
			counters := 2 // each node counts alone
			if s.redis {
				counters = 1
			}
			afterKill := 2 * counters
			if s.redis {
				afterKill = 1
			}
			passwords := func(cl *cluster) func(int) guess {
				email, network := cl.user(), newNetwork()
				return func(i int) guess { return signIn(email, wrong(i)).from(network).at(i % 2) }
			}
			stepUps := func(cl *cluster) func(int) guess {
				token := cl.accessToken()
				return func(i int) guess { return stepUp(wrong(i)).bearer(token).from(newNetwork()).at(i % 2) }
			}
			for _, a := range []attack{{
				url: "login", changes: "password, node", most: 5 * counters, prepare: passwords,
			}, {
				url: "login", changes: "network, password, node", most: 10 * counters,
				prepare: func(cl *cluster) func(int) guess {
					email := cl.user()
					return func(i int) guess { return signIn(email, wrong(i)).from(newNetwork()).at(i % 2) }
				},
			}, {
				url: "login", changes: "account, node", most: 10 * counters, perMinute: true,
				prepare: func(*cluster) func(int) guess {
					network := newNetwork()
					return func(i int) guess {
						return signIn(fmt.Sprintf("account-%d@example.com", i), wrong(0)).from(network).at(i % 2)
					}
				},
			}, {
				url: "login", changes: "node", most: (1 + 30) * counters, perMinute: true, guesses: 80,
				prepare: func(cl *cluster) func(int) guess {
					email, network := cl.user(), newNetwork()
					return func(i int) guess { return signIn(email, wrong(0)).from(network).at(i % 2) }
				},
			}, {
				url: "step-up", changes: "network, password, node", most: 5, stored: true, prepare: stepUps,
			}, {
				url: "register, taken address", changes: "network, node", judged: emailTaken, most: 2 * 3 * counters,
				prepare: func(cl *cluster) func(int) guess {
					email := cl.user()
					return func(i int) guess { return register(email).from(newNetwork()).at(i % 2) }
				},
			}, {
				url: "login", changes: "password, node; kill -9", most: 5 * afterKill, prepare: passwords,
				halfway: (*cluster).restart,
			}, {
				url: "step-up", changes: "network, password, node; kill -9", most: 5, stored: true, prepare: stepUps,
				halfway: (*cluster).restart,
			}} {
				a.judged, a.hash, a.guesses = cmp.Or(a.judged, wrongPassword), true, max(a.guesses, 24)
				a.url = s.name + ": " + a.url
				a.run(t, cl, b)
			}
		})
	}
}
