# make run starts a demonstration, make test runs every test. Both need only Go. On Debian, as root,
# make test installs the packages that the tests need.

.PHONY: run build test interop lint bench screens lighthouse soak mutations clean

# These packages are tested without the race detector, because it makes the SQLite driver ten times
# slower, and the diagnosis of thousands of refusals. make soak runs the doctor's tests with it.
PLAIN = ./server/internal/store/... ./server/internal/repo/... ./server/internal/node ./server/internal/doctor ./server/cmd/durward

# The packages of the library and of the server, of all their modules.
PACKAGES = ./... ./htpasswd/... ./oauth2source/... ./tokenstore/redis/... ./internal/pwhash/... ./internal/valkey/... ./server/...
MODULES = . htpasswd oauth2source tokenstore/redis internal/pwhash internal/valkey server server/cmd/durward bench e2e examples

run: build
	.build/durward serve --demo --data .build/demo

build:
	@mkdir -p .build
	go build -buildvcs=false -o .build/durward ./server/cmd/durward

test: packages lint
	go test -timeout 30m -race $$(go list $(PACKAGES) | grep -v -e /internal/store -e /internal/repo -e /internal/node -e /internal/doctor)
	go test -timeout 30m $(PLAIN)
	DURWARD_TEST_PREFIX=/auth go test -timeout 30m -run 'Cookie|Page|Metadata|Bound|Logout|Round|Foreign|Path|Denial' ./server/internal/httpapi
	DURWARD_TEST_PREFIX=/auth go test -timeout 30m ./server/internal/web
	cd examples && go build ./...
	cd e2e/peers && GOWORK=off go build -buildvcs=false ./...
	cd bench && go test ./compare
	cd e2e && go test -timeout 30m . && go test -timeout 30m -race ./revocations && go test -timeout 30m -parallel 6 ./nodes && go test -timeout 30m ./attack && go test -timeout 30m ./pages

.PHONY: packages
packages:
	@.ci/packages gcc libc6-dev curl ca-certificates openssl sqlite3 \
		apache2-bin cadaver chromium docker-registry firefox-esr git haproxy libapache2-mod-auth-openidc libfaketime libnginx-mod-http-js libnss3-tools libsasl2-modules lighttpd nginx oathtool pgbouncer postfix postgresql python3-authlib python3-httpx python3-requests radicale redis-server sasl2-bin skopeo squid wget zbar-tools \
		$$(command -v npm >/dev/null || echo nodejs npm)

# Runs the tests with programs from Maven Central and PyPI. It lists those that it cannot fetch, and
# does not fail because of them.
interop:
	@.ci/packages $$(command -v javac >/dev/null || echo default-jdk-headless) \
		$$(command -v mvn >/dev/null || echo maven) \
		$$(python3 -c 'import ensurepip, venv' || echo python3-venv) || true
	@.ci/interop
	cd e2e && INTEROP=1 go test -count=1 -timeout 30m -parallel 4 -run '^TestInterop' -v .
	@sed 's/^/NOT TESTED, because it could not be fetched: /' .build/interop/missing

lint:
	@test -z "$$(gofmt -l .)" || { echo "gofmt -w wanted:"; gofmt -l .; exit 1; }
	@mkdir -p .build
	cd e2e/peers && GOWORK=off go mod tidy -diff
	cd tools && export GOWORK=off && go mod tidy -diff && go build -o ../.build/staticcheck honnef.co/go/tools/cmd/staticcheck
	@for module in $(MODULES); do \
		echo "lint $$module"; \
		(cd $$module && go mod tidy -diff && go vet ./... && $(CURDIR)/.build/staticcheck ./...) || exit 1; \
	done

# Prints the table of docs/performance.md, each figure beside its limit from the same run.
bench: build
	cd bench && go run . -durward ../.build/durward

# Writes screenshots of every page to .build/screens: phone and desktop, both themes, both languages. The page
# .build/screens/index.html shows them.
screens: packages
	rm -rf .build/screens
	cd e2e && SCREENS=1 go test -count=1 -timeout 30m ./pages

# Audits the accessibility of every page with Lighthouse, which has to give 100.
lighthouse: packages
	cd e2e && LIGHTHOUSE=1 go test -count=1 -run TestLighthouse -v -timeout 60m ./pages

# Applies each patch of testdata/mutations, which removes one security check, and expects a test to fail.
# Takes an hour on two processors.
mutations:
	MUTATIONS=1 go test -count=1 -run 'TestMutations$$' -v -timeout 3h ./server/internal/repo

# Runs the long tests: hundreds of crash rounds, minutes of fuzzing per target.
soak: build
	go test -count=1 -race -timeout 60m ./server/internal/doctor
	SOAK=1 go test -count=1 -run TestRedisFailsUnderAttack -v ./server/internal/limits
	CRASH_ROUNDS=500 go test -count=1 -run TestCrash -v -timeout 30m ./server/cmd/durward
	SOAK=1 go test -count=1 -run TestConsoleOfAMillionEvents -v -timeout 30m ./server/internal/web
	cd e2e && SOAK=1 go test -count=1 -v -parallel 4 -timeout 90m ./nodes
	cd e2e && SOAK=1 go test -count=1 -v -timeout 90m ./attack
	MODEL_CHECKS=1200 go test -count=1 -run TestLife -v -timeout 60m ./server/internal/node
	go test -count=1 -race -timeout 60m ./server/cmd/durward
	TRANSPORT_ROUNDS=100 go test -count=1 -run 'TestTransportProcesses|TestTransportTokensTogether' -v -timeout 30m ./client ./tokenstore/redis
	for f in $$(grep -rlE '^func Fuzz' --include=*_test.go .); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' $$f); do \
			go test -run '^$$' -fuzz "^$$name\$$" -fuzztime 2m "./$$(dirname $$f)" || exit 1; \
		done; \
	done

clean:
	rm -rf .build
