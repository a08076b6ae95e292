package test

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"orch/test/lab"
)

const publishedApplication = `name: shop
services:
  web:
    image: ` + lab.Image + `
    command: [serve, ":8080"]
    hostname: "{{.Node.Hostname}}.{{.Task.Slot}}"
    environment: {ROUND: "%d"}
    ports: ["8080:8080", "443:8080"]
    deploy: {replicas: 4, update_config: {order: start-first, parallelism: 2, monitor: 500ms}}
    healthcheck: {test: [CMD, /app, get, "http://127.0.0.1:8080"], interval: 1s, start_interval: 200ms, start_period: 10s}
`

// soakFor makes the churn of tasks under load last: 10m is the long one.
const soakFor = "ORCH_TEST_SOAK"

// restoredWithin is the README's word on what others take away.
const restoredWithin = 2 * time.Second

// The kernel carries published ports: they answer while the daemon is away, come back when their rules are taken away, and go
// with the node.
func TestPublishedPorts(t *testing.T) {
	l := lab.New(t, lab.Config{Hosts: 2})
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	churn, err := time.ParseDuration(cmp.Or(os.Getenv(soakFor), "0s"))
	if err != nil {
		t.Fatalf("%s: %v", soakFor, err)
	}
	clean := [2]string{kernel(node{l.Hosts[0], t}), kernel(node{l.Hosts[1], t})}
	manager := start(t, l.Hosts[0])
	token := strings.TrimSpace(manager.orch("token", "worker", "-q"))
	worker := join(t, l.Hosts[1], token, manager.Addr)
	eventually(t, 10*time.Second, "two ready nodes", func() bool { return strings.Count(manager.orch("node", "ls"), " ready ") == 2 })
	manager.orch("deploy", "-c", manager.file("compose.yml", fmt.Sprintf(publishedApplication, 0)), "--timeout", "60s")

	// From one host to a port of the other: that is the kernel's path.
	url := "http://" + worker.Addr + ":8080/"
	seen := map[string]bool{}
	eventually(t, 10*time.Second, "answers of all tasks", func() bool {
		if name, err := manager.get(url); err == nil {
			seen[name] = true
		}
		return len(seen) == 4
	})
	t.Run("below 1024", func(t *testing.T) {
		if _, err := manager.get("http://" + worker.Addr + ":443/"); err != nil {
			t.Error(err)
		}
	})
	t.Run("the daemon is killed and comes back under load", func(t *testing.T) {
		load := manager.load(url)
		worker.sh("kill -9 $(cat " + worker.dataDir() + "/daemon.pid)")
		load.more(t, 200) // with nobody there
		worker.again()
		load.more(t, 200)
		load.ends(t, 0)
	})
	t.Run("what others flush", func(t *testing.T) {
		for _, flush := range []string{"iptables -F", "iptables -t nat -F", "nft flush ruleset"} {
			worker.sh(flush)
			begin := time.Now()
			for answers := 0; answers < 8; {
				if _, err := manager.get(url); err == nil {
					answers++
				} else {
					answers = 0
				}
				if time.Since(begin) > 2*restoredWithin {
					t.Fatalf("%s: not back\n%s", flush, worker.sh("iptables-save; nft list tables"))
				}
			}
			if took := time.Since(begin); took > restoredWithin {
				t.Errorf("%s: back after %s", flush, took)
			}
		}
	})
	t.Run("updates under load", func(t *testing.T) {
		load := manager.load(url)
		until := time.Now().Add(churn)
		for round := 1; round < 3 || time.Now().Before(until); round++ {
			manager.orch("deploy", "-c", manager.file("compose.yml", fmt.Sprintf(publishedApplication, round)), "--timeout", "60s")
		}
		load.ends(t, 1+int(load.answers.Load())/resetOf)
		if t.Failed() {
			t.Logf("%s\n%s", manager.log(), worker.log())
		}
		if n := strings.Count(worker.sh("nft list ruleset"), "dnat ip to numgen") + strings.Count(worker.sh("nft list ruleset"), "dnat to numgen"); n != 2 {
			t.Errorf("%d rules for 2 ports", n)
		}
	})
	t.Run("a node without a task", func(t *testing.T) {
		manager.orch("scale", "shop_web=1")
		for _, n := range []node{manager, worker} {
			for range 4 {
				if _, err := manager.get("http://" + n.Addr + ":8080/"); err != nil {
					t.Errorf("by %s: %v", n.Name, err)
				}
			}
		}
	})
	t.Run("nothing is left", func(t *testing.T) {
		manager.orch("rm", "shop")
		worker.orch("leave", "--force")
		manager.orch("leave", "--force")
		for i, n := range []node{manager, worker} {
			if i == 1 {
				continue // its rules were flushed with the engine's
			}
			if now := kernel(n); now != clean[i] {
				t.Errorf("%s before:\n%s\nafter:\n%s", n.Name, clean[i], now)
			}
		}
		if now := kernel(worker); strings.Contains(strings.ToLower(now), "orch") || strings.Contains(now, "ov") {
			t.Errorf("%s:\n%s", worker.Name, now)
		}
	})
}

// kernel is what a node's kernel holds besides what comes and goes by itself.
func kernel(n node) string {
	return n.sh(`iptables-save | grep -v '^#' | sed 's/ \[[0-9:]*\]//'; nft list tables 2>/dev/null; ip -o link | awk '{print $2}' | grep -v '^veth'; ip route; ip rule
		for f in ip_forward conf/all/rp_filter conf/all/route_localnet conf/all/arp_notify; do echo $f $(cat /proc/sys/net/ipv4/$f); done`)
}

// again starts a node's daemon.
func (n node) again() {
	n.t.Helper()
	if _, stderr, _ := n.try("init", "--supervisor", "process", "--data-dir", n.dataDir(), "--docker-host", n.DockerHost(), "--advertise-addr", n.Addr); !strings.Contains(stderr, "already part of a swarm") {
		n.t.Fatalf("start the daemon again: %s", stderr)
	}
}

// load asks a URL from a host, each time by a new connection.
type load struct {
	stop    chan struct{}
	over    sync.WaitGroup
	answers atomic.Int64
	mu      sync.Mutex // guards what follows
	failed  []string
	slow    []string
}

// slow is an answer that came only after the client's second attempt to connect.
const slow = 900 * time.Millisecond

// askers are how many ask at the same time.
const askers = 4

func (n node) load(url string) *load {
	l := &load{stop: make(chan struct{})}
	client := &http.Client{Transport: &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for range askers {
		l.over.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				begin := time.Now()
				resp, err := client.Get(url)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				if err == nil {
					l.answers.Add(1)
					if took := time.Since(begin); took > slow {
						l.mu.Lock()
						l.slow = append(l.slow, fmt.Sprintf("%s took %s", begin.Format(time.StampMilli), took))
						l.mu.Unlock()
					}
					continue
				}
				l.mu.Lock()
				l.failed = append(l.failed, fmt.Sprintf("%s after %s: %v", begin.Format(time.StampMilli), time.Since(begin), err))
				l.mu.Unlock()
			}
		})
	}
	return l
}

// more waits for further answers.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	until := l.answers.Load() + n
	eventually(t, 20*time.Second, fmt.Sprint(n, " more answers"), func() bool { return l.answers.Load() >= until })
}

// resetOf says of how many new connections one may be reset while tasks end, at most: a known limit, see "Not there yet" in
// docs/networking.md. `make bench NAME=update` counts without it.
const resetOf = 10_000

// ends stops asking; all but so many requests must have been answered.
func (l *load) ends(t *testing.T, most int) {
	t.Helper()
	close(l.stop)
	l.over.Wait()
	say := t.Errorf
	if len(l.failed) <= most {
		say = t.Logf
	}
	for _, f := range l.failed {
		say("%s", f)
	}
	t.Logf("%d answers, %d failed, slow: %q", l.answers.Load(), len(l.failed), l.slow)
}
