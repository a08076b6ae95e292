package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/versions"

	"orch/internal/store"
)

// refusal is an error in Swarm's words; kind is one of errdefs'.
type refusal struct {
	kind error
	text string
	// until is the API version before which the engine puts it otherwise: in the
	// words of older, and as older's kind if it has one.
	until string
	older *refusal
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

// before gives what an engine says that is older than an API version.
func (r *refusal) before(version, format string, args ...any) *refusal {
	r.until, r.older = version, &refusal{kind: r.kind, text: fmt.Sprintf(format, args...)}
	return r
}

// once makes what an older engine says one of another kind.
func (r *refusal) once(kind error) *refusal {
	r.older.kind = kind
	return r
}

func refuse(kind error, format string, args ...any) *refusal {
	return &refusal{kind: kind, text: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *refusal {
	return refuse(errdefs.ErrInvalidArgument, format, args...)
}

// codes are gRPC's names of the kinds, which Swarm's managers put before their
// texts and which dockerd hands on to its clients.
var codes = map[error]string{
	errdefs.ErrInvalidArgument:    "InvalidArgument",
	errdefs.ErrFailedPrecondition: "FailedPrecondition",
	errdefs.ErrNotFound:           "NotFound",
	errdefs.ErrAlreadyExists:      "AlreadyExists",
	errdefs.ErrPermissionDenied:   "PermissionDenied",
	errdefs.ErrNotImplemented:     "Unimplemented",
	errdefs.ErrUnavailable:        "Unavailable",
	errdefs.ErrUnknown:            "Unknown",
}

// remote is a refusal as a manager of Swarm sends it to dockerd.
func remote(kind error, format string, args ...any) *refusal {
	return refuse(kind, "rpc error: code = %s desc = %s", codes[kind], fmt.Sprintf(format, args...))
}

func badSpec(format string, args ...any) *refusal {
	return remote(errdefs.ErrInvalidArgument, format, args...)
}

var errOutOfSequence = remote(errdefs.ErrUnknown, "update out of sequence")

const noLeader = "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online."

// statusOf is the only place that turns an error into a status.
func statusOf(err error) int {
	switch {
	case errdefs.IsNotFound(err):
		return http.StatusNotFound
	case errdefs.IsInvalidArgument(err), errdefs.IsFailedPrecondition(err), errdefs.IsOutOfRange(err):
		return http.StatusBadRequest
	case errdefs.IsConflict(err), errdefs.IsAlreadyExists(err):
		return http.StatusConflict
	case errdefs.IsUnauthorized(err):
		return http.StatusUnauthorized
	case errdefs.IsPermissionDenied(err):
		return http.StatusForbidden
	case errdefs.IsNotImplemented(err):
		return http.StatusNotImplemented
	case errdefs.IsUnavailable(err), errors.Is(err, store.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// WriteError answers with an error as Docker does.
func WriteError(w http.ResponseWriter, err error) { writeError(w, err, known(nil), "") }

// writeError answers a request for the given API version with an error, in the engine's words.
func writeError(w http.ResponseWriter, err error, e Engine, asked string) {
	if r := (*refusal)(nil); errors.As(err, &r) && r.older != nil && versions.LessThan(e.APIVersion, r.until) {
		err = r.older
	}
	text := err.Error()
	switch {
	case errors.Is(err, store.ErrDiskFull):
	case errors.Is(err, store.ErrUnavailable):
		text = "rpc error: code = Unavailable desc = " + noLeader
	case errors.Is(err, store.ErrConflict):
		text = errOutOfSequence.Error()
	case errors.Is(err, context.Canceled):
		return // nobody reads the answer
	}
	if asked != "" && versions.LessThan(asked, errorsAreJSON) {
		http.Error(w, text, statusOf(err))
		return
	}
	body, _ := json.Marshal(map[string]string{"message": text}) // a map of strings always encodes
	writeBody(w, statusOf(err), append(body, '\n'))
}
