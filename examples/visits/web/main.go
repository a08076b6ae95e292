// Command web is the page that visitors see.
package main

import (
	"bytes"
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
	api := os.Getenv("API_URL")
	host, _ := os.Hostname()
	client := http.Client{Timeout: 5 * time.Second}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		request, err := http.NewRequestWithContext(r.Context(), http.MethodPost, api+"/visit", nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		request.Header.Set("Authorization", string(bytes.TrimSpace(token)))
		response, err := client.Do(request)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			http.Error(w, fmt.Sprintf("api: %s %s", response.Status, text), http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, "%s, served by web %s\n", text, host)
	})
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	probe.Main(":8080", mux)
}
