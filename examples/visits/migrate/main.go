// Command migrate prepares the store before anything uses it, and ends: others wait for it to complete.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	client := http.Client{Timeout: 3 * time.Second}
	response, err := client.Post(os.Getenv("STORE_URL")+"/counters/migrations", "", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	var n int
	if _, err := fmt.Fscan(response.Body, &n); err != nil || response.StatusCode != http.StatusOK {
		log.Fatalf("store: %s %v", response.Status, err)
	}
	log.Printf("migration %d done", n)
}
