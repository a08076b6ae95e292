package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/versions"
	"github.com/gorilla/mux"
)

const (
	oldestVersion = "1.24"
	// maxBody bounds a request's body: above the largest config in base64, and
	// below what one message of the state may hold.
	maxBody = 4 << 20
)

// route is one line of a resource's table.
type route struct {
	method string
	path   string
	do     handler
}

type handler func(w http.ResponseWriter, r *http.Request) error

func register(r *mux.Router, newest string, tables ...[]route) {
	if newest == "" || versions.GreaterThan(newest, NewestVersion) {
		newest = NewestVersion
	}
	for _, table := range tables {
		for _, t := range table {
			h := serve(newest, t.do)
			r.Path("/v{version:[0-9.]+}" + t.path).Methods(t.method).Handler(h)
			r.Path(t.path).Methods(t.method).Handler(h)
		}
	}
}

// serve makes a handler of do: the version is one that there is, the body
// bounded, and an error answered as Docker does.
func serve(newest string, do handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := checkVersion(mux.Vars(r)["version"], newest); err != nil {
			writeError(w, err)
			return
		}
		w.Header().Set("Api-Version", newest)
		if r.ContentLength > maxBody {
			writeError(w, tooLarge())
			return
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		if err := do(w, r); err != nil {
			writeError(w, err)
		}
	}
}

func checkVersion(asked, newest string) error {
	switch {
	case asked == "":
		return nil
	case versions.GreaterThan(asked, newest):
		return invalid("client version %s is too new. Maximum supported API version is %s", asked, newest)
	case versions.LessThan(asked, oldestVersion):
		return invalid("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", asked, oldestVersion)
	}
	return nil
}

// decode reads a request's body; none at all leaves out as it is.
func decode(r *http.Request, out any) error {
	if r.Body == nil || r.ContentLength == 0 {
		return nil
	}
	if err := checkJSON(r.Header.Get("Content-Type")); err != nil {
		return err
	}
	dec := json.NewDecoder(r.Body)
	if err := dec.Decode(out); err != nil {
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			return tooLarge()
		case errors.Is(err, io.EOF):
			return invalid("invalid JSON: got EOF while reading request body")
		}
		return invalid("invalid JSON: %v", err)
	}
	if dec.More() {
		return invalid("unexpected content after JSON")
	}
	return nil
}

func checkJSON(header string) error {
	if header == "" {
		return nil // curl -d '' and old clients
	}
	kind, _, err := mime.ParseMediaType(header)
	if err != nil {
		return invalid("malformed Content-Type header (%s): %v", header, err)
	}
	if kind != "application/json" {
		return invalid("unsupported Content-Type header (%s): must be 'application/json'", header)
	}
	return nil
}

func tooLarge() error { return invalid("the request's body is larger than %d MiB", maxBody>>20) }

func encode(w http.ResponseWriter, status int, v any) error {
	body := new(bytes.Buffer)
	e := json.NewEncoder(body)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	writeBody(w, status, body.Bytes())
	return nil
}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone away wants no answer
}

// id is the reference in the path, which the router matches as it was sent.
func id(r *http.Request) string {
	raw := mux.Vars(r)["id"]
	if s, err := url.PathUnescape(raw); err == nil {
		return s
	}
	return raw
}

// flag reads a boolean of the query as most of dockerd's handlers do: what
// is neither empty nor a no is a yes.
func flag(r *http.Request, name string) bool {
	switch r.URL.Query().Get(name) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// strictFlag reads a boolean of the query and refuses what is none.
func strictFlag(r *http.Request, name string) (bool, error) {
	raw := r.URL.Query().Get(name)
	if raw == "" {
		return false, nil
	}
	v, err := strconv.ParseBool(raw)
	if err != nil {
		return false, invalid("invalid value for %s: %s", name, raw)
	}
	return v, nil
}

// version reads the version of the object that an update was made from.
func version(r *http.Request, what string) (uint64, error) {
	raw := r.URL.Query().Get("version")
	v, err := strconv.ParseUint(raw, 10, 64)
	if err != nil {
		return 0, invalid("invalid %s version '%s': %v", what, raw, err)
	}
	return v, nil
}

// filtersOf reads a list's filters, in either of their encodings, and refuses
// those that the list does not know.
func filtersOf(r *http.Request, known ...string) (filters.Args, error) {
	args, err := filters.FromJSON(r.URL.Query().Get("filters"))
	if err != nil {
		return args, invalid("%v", err)
	}
	accepted := map[string]bool{}
	for _, k := range known {
		accepted[k] = true
	}
	if err := args.Validate(accepted); err != nil {
		return args, invalid("%v", err)
	}
	return args, nil
}
