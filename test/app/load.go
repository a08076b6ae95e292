package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// attempt bounds one request of a load.
const attempt = 5 * time.Second

// result is what a load has come to, and is printed as JSON.
type result struct {
	Seconds  float64
	Requests int
	Failed   int
	Bytes    int64
	P50, P99 float64 // of a request, in milliseconds
	Error    string  `json:",omitempty"` // the first
}

// tally gathers what parallel clients do.
type tally struct {
	mu    sync.Mutex // guards what follows
	sum   result
	times []time.Duration
}

func (t *tally) add(times []time.Duration, bytes int64, failures []error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.times = append(t.times, times...)
	t.sum.Requests += len(times)
	t.sum.Bytes += bytes
	t.sum.Failed += len(failures)
	if len(failures) > 0 && t.sum.Error == "" {
		t.sum.Error = failures[0].Error()
	}
}

func (t *tally) print(took time.Duration) error {
	t.sum.Seconds = took.Seconds()
	slices.Sort(t.times)
	at := func(p float64) float64 {
		if len(t.times) == 0 {
			return 0
		}
		return float64(t.times[min(int(p*float64(len(t.times))), len(t.times)-1)].Microseconds()) / 1000
	}
	t.sum.P50, t.sum.P99 = at(0.5), at(0.99)
	return json.NewEncoder(os.Stdout).Encode(t.sum)
}

// together runs n clients for some seconds.
func together(ctx context.Context, seconds string, n int, client func(ctx context.Context, t *tally)) error {
	s, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s*float64(time.Second)))
	defer cancel()
	t := &tally{}
	begin := time.Now()
	var clients sync.WaitGroup
	for range n {
		clients.Go(func() { client(ctx, t) })
	}
	clients.Wait()
	return t.print(time.Since(begin))
}

// load asks an address for a path for some seconds by some clients: "keep" asks again by the same connection, "new" by
// another each time. It speaks no more HTTP than it has to: what is measured is the way, not the client.
func load(ctx context.Context, kind, address, path, seconds, clients string) error {
	n, err := strconv.Atoi(clients)
	if err != nil {
		return err
	}
	close := ""
	if kind == "new" {
		close = "Connection: close\r\n"
	}
	ask := []byte("GET " + path + " HTTP/1.1\r\nHost: bench\r\n" + close + "\r\n")
	return together(ctx, seconds, n, func(ctx context.Context, t *tally) {
		var times []time.Duration
		var failures []error
		var bytes int64
		c := &caller{address: address, ask: ask}
		for ctx.Err() == nil {
			begin := time.Now()
			n, err := c.request(kind == "keep")
			if err != nil {
				failures = append(failures, err)
				continue
			}
			bytes += n
			times = append(times, time.Since(begin))
		}
		c.hangUp()
		t.add(times, bytes, failures)
	})
}

// caller is one client of a load.
type caller struct {
	address string
	ask     []byte
	conn    net.Conn
	in      *bufio.Reader
}

func (c *caller) request(keep bool) (int64, error) {
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.address, attempt)
		if err != nil {
			return 0, err
		}
		c.conn, c.in = conn, bufio.NewReaderSize(conn, 256<<10)
	}
	n, err := c.exchange()
	if err != nil || !keep {
		c.hangUp()
	}
	return n, err
}

func (c *caller) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *caller) exchange() (int64, error) {
	if err := c.conn.SetDeadline(time.Now().Add(attempt)); err != nil {
		return 0, err
	}
	if _, err := c.conn.Write(c.ask); err != nil {
		return 0, err
	}
	length := int64(-1)
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) <= 2 {
			break
		}
		if rest, ok := strings.CutPrefix(string(line), "Content-Length: "); ok {
			if length, err = strconv.ParseInt(strings.TrimSpace(rest), 10, 64); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("an answer without its length")
	}
	n, err := io.CopyN(io.Discard, c.in, length)
	return n, err
}

// pattern is what a bulk answer repeats: no byte of it can be out of place and pass.
func pattern() []byte {
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i*7 + i>>9)
	}
	return block
}

// fetch reads a bulk answer to its end.
func fetch(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	begin := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	want, got := pattern(), make([]byte, 1<<20)
	n := 0
	for ; ; n++ {
		switch _, err := io.ReadFull(resp.Body, got); {
		case err == io.EOF && int64(n)<<20 == resp.ContentLength:
			fmt.Printf("%.0f MB/s\n", float64(n<<20)/1e6/time.Since(begin).Seconds())
			return nil
		case err != nil:
			return fmt.Errorf("after %d MiB: %w", n, err)
		case !bytes.Equal(want, got):
			return fmt.Errorf("the MiB after %d is not what was sent", n)
		}
	}
}

// bulk answers with as many MiB as the path says.
func bulk(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/bulk/"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(n<<20))
	block := pattern()
	for range n {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// names asks a name server for a name for some seconds, so many times a second, by some clients.
func names(ctx context.Context, server, name, seconds, rate, clients string) error {
	perSecond, err := strconv.ParseFloat(rate, 64)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(clients)
	if err != nil {
		return err
	}
	pause := time.Duration(float64(n) * float64(time.Second) / perSecond)
	return together(ctx, seconds, n, func(ctx context.Context, t *tally) {
		var times []time.Duration
		var failures []error
		conn, err := dns.DialTimeout("udp", server, attempt)
		if err != nil {
			t.add(nil, 0, []error{err})
			return
		}
		defer conn.Close()
		for due := time.Now(); ctx.Err() == nil; due = due.Add(pause) {
			time.Sleep(time.Until(due))
			begin := time.Now()
			if err := lookUp(conn, name); err != nil {
				failures = append(failures, err)
				continue
			}
			times = append(times, time.Since(begin))
		}
		t.add(times, 0, failures)
	})
}

func lookUp(c *dns.Conn, name string) error {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), dns.TypeA)
	if err := c.SetDeadline(time.Now().Add(attempt)); err != nil {
		return err
	}
	if err := c.WriteMsg(q); err != nil {
		return err
	}
	a, err := c.ReadMsg()
	if err != nil {
		return err
	}
	if a.Rcode != dns.RcodeSuccess || len(a.Answer) == 0 || a.Id != q.Id {
		return fmt.Errorf("%s: %s, %d answers", name, dns.RcodeToString[a.Rcode], len(a.Answer))
	}
	return nil
}
