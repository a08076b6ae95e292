// Command api counts visits in the store, for callers that know the token.
package main

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"orch/examples/visits/probe"
)

func main() {
	token, err := os.ReadFile("/run/secrets/api_token")
	if err != nil {
		log.Fatal(err)
	}
	var config struct{ Greeting string }
	if b, err := os.ReadFile("/etc/visits.json"); err != nil {
		log.Fatal(err)
	} else if err := json.Unmarshal(b, &config); err != nil {
		log.Fatalf("/etc/visits.json: %v", err)
	}
	store := os.Getenv("STORE_URL")
	host, _ := os.Hostname()
	client := http.Client{Timeout: 3 * time.Second}

	mux := http.NewServeMux()
	mux.HandleFunc("POST /visit", func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), bytes.TrimSpace(token)) != 1 {
			http.Error(w, "wrong token", http.StatusForbidden)
			return
		}
		response, err := client.Post(store+"/counters/visits", "", nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		count, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			http.Error(w, fmt.Sprintf("store: %s %v", response.Status, err), http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, "%s You are visitor %s (api %s)", config.Greeting, count, host)
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		response, err := client.Get(store + "/health")
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		response.Body.Close()
	})
	probe.Main(":8081", mux)
}
