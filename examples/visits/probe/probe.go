// Package probe is what the servers of the example share: serving until told to stop, and the -health flag with which a
// container's health check asks the same binary whether it serves.
package probe

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	checkTimeout = 2 * time.Second
	drainTimeout = 5 * time.Second
)

// Main serves mux on addr until SIGTERM, then lets requests finish. With -health it asks the server for /health
// instead, and exits 0 when the answer is 200.
func Main(addr string, mux *http.ServeMux) {
	health := flag.Bool("health", false, "ask the running server whether it is healthy")
	flag.Parse()
	if *health {
		os.Exit(check("http://127.0.0.1" + addr + "/health"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: drainTimeout}
	go func() {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		if err := server.Shutdown(drain); err != nil {
			log.Printf("stop: %v", err)
		}
	}()
	log.Printf("listening on %s", addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

func check(url string) int {
	client := http.Client{Timeout: checkTimeout}
	response, err := client.Get(url)
	if err != nil {
		log.Print(err)
		return 1
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		log.Printf("%s: %s", url, response.Status)
		return 1
	}
	return 0
}
