package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/versions"
	"github.com/gorilla/mux"
)

// maxBody bounds a request's body: above the largest config in base64, and
// below what one message of the state may hold.
const maxBody = 4 << 20

// route is one line of a resource's table.
type route struct {
	method string
	path   string
	do     handler
}

type handler func(w http.ResponseWriter, r *http.Request) error

func register(r *mux.Router, engine func() Engine, tables ...[]route) {
	for _, table := range tables {
		for _, t := range table {
			h := serve(engine, t.do)
			r.Path("/v{version:[0-9.]+}" + t.path).Methods(t.method).Handler(h)
			r.Path(t.path).Methods(t.method).Handler(h)
		}
	}
}

// serve makes a handler of do: the version is one that there is, the body
// bounded, and an error answered as Docker does.
func serve(engine func() Engine, do handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		e := known(engine)
		e.Head(w.Header())
		asked := mux.Vars(r)["version"]
		if err := e.check(asked); err != nil {
			headOfRefusal(w.Header())
			writeError(w, err, e, asked)
			return
		}
		if r.ContentLength > maxBody {
			writeError(w, tooLarge(), e, asked)
			return
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		r = r.WithContext(context.WithValue(r.Context(), engineKey{}, e))
		if err := do(w, r); err != nil {
			writeError(w, err, e, asked)
		}
	}
}

// decode reads a request's body, which there must be.
func decode(r *http.Request, out any) error {
	if e := engineOf(r); !versions.LessThan(e.APIVersion, v23) { // older ones do not look at it
		if err := checkJSON(r.Header.Get("Content-Type")); err != nil {
			return err
		}
	}
	dec := json.NewDecoder(r.Body)
	if err := dec.Decode(out); err != nil {
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			return tooLarge()
		case errors.Is(err, io.EOF):
			return invalid("invalid JSON: got EOF while reading request body").before(v23, "got EOF while reading request body")
		}
		return invalid("invalid JSON: %v", err).before(v23, "%v", err)
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
	body, err := marshal(known(nil), v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	writeBody(w, status, body)
	return nil
}

// show answers with an object or a list of them, as the request's engine would show it.
func show(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := marshal(engineOf(r), v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	writeBody(w, http.StatusOK, body)
	return nil
}

// marshal is the JSON of something as an engine shows it, with a line's end.
func marshal(e Engine, v any) ([]byte, error) {
	body := new(bytes.Buffer)
	enc := json.NewEncoder(body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return asOf(e, body.Bytes()), nil
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
	switch strings.ToLower(strings.TrimSpace(r.URL.Query().Get(name))) { // Python's clients say False
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
		return false, invalid("invalid value for %s: %s: %v", name, raw, err)
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
	raw := r.URL.Query().Get("filters")
	args, err := filters.FromJSON(raw)
	if err != nil {
		return args, invalid("%v", err).before(v23, "%v", whyNoFilters(raw, err))
	}
	accepted := map[string]bool{}
	for _, k := range known {
		accepted[k] = true
	}
	if err := args.Validate(accepted); err != nil {
		return args, invalid("%v", err).before(v23, "I%s", strings.TrimPrefix(err.Error(), "i"))
	}
	return args, nil
}

// whyNoFilters is what is wrong in the words of Go's decoder, as older engines tell it.
func whyNoFilters(raw string, err error) error {
	var lists map[string]map[string]bool
	if why := json.Unmarshal([]byte(raw), &lists); why != nil {
		return why
	}
	return err
}
