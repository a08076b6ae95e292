// Command app is what the containers of tests and benchmarks run. It is built static, so an image needs nothing beside it.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const usage = `app sleep            wait for SIGTERM
app serve ADDR       answer HTTP with the host's name until SIGTERM
app get URL          print the answer to a request ($TRANSPORT: tcp4 or tcp6)
app load keep|new ADDR PATH SECONDS CLIENTS
                     ask as fast as it goes, and print what came of it
app names SERVER NAME SECONDS RATE CLIENTS
                     the same with names
app fetch URL        read an answer of /bulk/MIB, see that it is whole, and print the rate
app exit CODE [WAIT] end with CODE after WAIT
app lines N          print N lines, then wait for SIGTERM
app cat FILE         print a file
app env NAME         print a variable`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if filepath.Base(os.Args[0]) == "sh" {
		shell()
		return
	}
	if err := run(ctx, append(os.Args[1:], "", "", "", "", "", "")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// shell is what the image has for one: it says on which host it is, and repeats what it is told until that is exit.
func shell() {
	host, _ := os.Hostname()
	fmt.Printf("shell of %s\n$ ", host)
	for in := bufio.NewScanner(os.Stdin); in.Scan() && in.Text() != "exit"; {
		fmt.Printf("you said %s\n$ ", in.Text())
	}
}

func run(ctx context.Context, args []string) error {
	switch args[0] {
	case "sleep":
		<-ctx.Done()
		return nil
	case "serve":
		return serve(ctx, args[1])
	case "get":
		return get(ctx, args[1])
	case "load":
		return load(ctx, args[1], args[2], args[3], args[4], args[5])
	case "names":
		return names(ctx, args[1], args[2], args[3], args[4], args[5])
	case "fetch":
		return fetch(ctx, args[1])
	case "exit":
		return exit(args[1], args[2])
	case "lines":
		n, err := strconv.Atoi(args[1])
		for i := range n {
			fmt.Println("line", i+1)
		}
		<-ctx.Done()
		return err
	case "cat":
		b, err := os.ReadFile(args[1])
		fmt.Printf("%s", b)
		return err
	case "env":
		fmt.Println(os.Getenv(args[1]))
		return nil
	}
	return fmt.Errorf("%s", usage)
}

// serve drains: requests under way when SIGTERM comes are answered.
func serve(ctx context.Context, addr string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, host) })
	mux.HandleFunc("/bulk/", bulk)
	s := &http.Server{Addr: addr, ReadHeaderTimeout: 10 * time.Second, Handler: mux}
	drained := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		drained <- s.Shutdown(ctx)
	})
	if err := s.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return <-drained
}

func get(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := http.DefaultClient
	if network := os.Getenv("TRANSPORT"); network != "" { // tcp4, tcp6
		client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}}
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

func exit(code, wait string) error {
	n, err := strconv.Atoi(code)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(wait)
	if wait != "" && err != nil {
		return err
	}
	time.Sleep(d)
	os.Exit(n)
	return nil
}
