// Command store is a tiny key-value server of counters, kept in one file on a volume.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"orch/examples/visits/probe"
)

type store struct {
	path string

	mu     sync.Mutex
	values map[string]int
}

func open(path string) (*store, error) {
	s := &store{path: path, values: map[string]int{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	return s, json.Unmarshal(b, &s.values)
}

// add changes a counter and returns its value, once the file has it: a file half-written is never seen, as it is renamed
// into place.
func (s *store) add(key string, n int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n != 0 {
		s.values[key] += n
		b, err := json.Marshal(s.values)
		if err != nil {
			return 0, err
		}
		if err := os.WriteFile(s.path+".new", b, 0o600); err != nil {
			return 0, err
		}
		if err := os.Rename(s.path+".new", s.path); err != nil {
			return 0, err
		}
	}
	return s.values[key], nil
}

func main() {
	s, err := open(filepath.Join("/data", "counters.json"))
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	serve := func(by int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			n, err := s.add(r.PathValue("key"), by)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			fmt.Fprint(w, n)
		}
	}
	mux.HandleFunc("GET /counters/{key}", serve(0))
	mux.HandleFunc("POST /counters/{key}", serve(1))
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	probe.Main(":9000", mux)
}
