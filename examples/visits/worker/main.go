// Command worker reports how many visits there were since its last look.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	every, err := time.ParseDuration(os.Getenv("EVERY"))
	if err != nil {
		log.Fatalf("EVERY: %v", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	client := http.Client{Timeout: 3 * time.Second}
	last := 0
	for tick := time.Tick(every); ; {
		now, err := visits(ctx, &client)
		if err != nil {
			log.Printf("read visits: %v", err)
		} else if now != last {
			log.Printf("%d visits, %d since the last report", now, now-last)
			last = now
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

func visits(ctx context.Context, client *http.Client) (n int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Getenv("STORE_URL")+"/counters/visits", nil)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = fmt.Fscan(response.Body, &n)
	return n, err
}
