package api

import (
	"net/http"

	"github.com/docker/docker/api/types/versions"
)

// NewestVersion is the newest version of Docker's API that this package speaks.
const NewestVersion = "1.51"

const (
	// oldestVersion is the oldest, where dockerd does not name one.
	oldestVersion = "1.24"
	// errorsAreJSON is the first version whose errors are.
	errorsAreJSON = "1.24"
	// v23 is the API of Docker Engine 23.0, which changed many texts and some
	// statuses: an older engine's clients are answered in its own words.
	v23 = "1.42"
)

// Engine is what the local dockerd says of itself. Clients are answered as it
// would answer: the two share a socket.
type Engine struct {
	// APIVersion and MinAPIVersion are the newest and the oldest version that
	// clients may ask for.
	APIVersion, MinAPIVersion string
	// Header is what every answer begins with: Server and the like.
	Header http.Header
}

// known is the engine as asked for, with what it does not say filled in.
func known(engine func() Engine) Engine {
	var e Engine
	if engine != nil {
		e = engine()
	}
	if e.APIVersion == "" || versions.GreaterThan(e.APIVersion, NewestVersion) {
		e.APIVersion = NewestVersion
	}
	if e.MinAPIVersion == "" {
		e.MinAPIVersion = oldestVersion
	}
	return e
}

type engineKey struct{}

// engineOf is the engine that a request is answered for.
func engineOf(r *http.Request) Engine {
	e, ok := r.Context().Value(engineKey{}).(Engine)
	if !ok {
		return known(nil)
	}
	return e
}

// Head writes the headers that every answer has.
func (e Engine) Head(h http.Header) {
	for k, v := range e.Header {
		h[k] = v
	}
	if e.APIVersion != "" {
		h.Set("Api-Version", e.APIVersion)
	}
}

// headOfRefusal leaves out what dockerd adds only once the version is known.
func headOfRefusal(h http.Header) { h.Del("Docker-Experimental") }

// check refuses a version that the engine does not speak; none at all is the newest.
func (e Engine) check(asked string) error {
	switch {
	case asked == "":
		return nil
	case versions.GreaterThan(asked, e.APIVersion):
		return invalid("client version %s is too new. Maximum supported API version is %s", asked, e.APIVersion)
	case versions.LessThan(asked, e.MinAPIVersion):
		return invalid("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", asked, e.MinAPIVersion)
	}
	return nil
}
