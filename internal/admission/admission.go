// Package admission is how a machine gets into a cluster and keeps its
// certificate fresh: two calls over HTTPS to a manager's first port. A machine
// with a join token trusts the manager by the CA digest in the token; the manager
// trusts the machine by the secret in it, and from then on by its certificate.
//
// It decides nothing: who is admitted is up to the Office, package manager's.
package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/identity"
)

const (
	// maxBody bounds both calls' bodies; they hold a few PEM blocks.
	maxBody = 64 << 10
	// callTimeout bounds one call, and each side's patience with the other.
	callTimeout = 10 * time.Second
	joinPath    = "/join"
	renewPath   = "/renew"
	enrolPath   = "/enrol"
)

// Request asks for admission.
type Request struct {
	// Token is the join token in the clear; TLS to a verified manager carries it.
	Token        string
	CSR          []byte
	Availability swarm.NodeAvailability
}

// Grant is what a new node needs to take part.
type Grant struct {
	NodeID    string
	ClusterID string
	CA, Cert  []byte
	// Managers are the managers' first ports, host:port.
	Managers []string
	// Manager says that the node is to become one: it enrols next.
	Manager bool
	// DataPathPort is the UDP port of the overlay networks.
	DataPathPort uint32
}

// Renewal asks for a fresh certificate, and is answered with one and with the CAs to trust.
type Renewal struct {
	CSR  []byte `json:",omitempty"`
	Cert []byte `json:",omitempty"`
	CA   []byte `json:",omitempty"`
}

// Enrolment asks to become a manager: of a node that was told to be one.
type Enrolment struct {
	CSR []byte
	// Addr is where the others reach its first port.
	Addr string
}

// Warrant is what a manager needs besides what every node has.
type Warrant struct {
	CA, Cert []byte
	// Seal is the key that secrets are sealed with; TLS to a manager whose certificate was verified carries it.
	Seal []byte
	// Server is its name in the managers' consensus.
	Server string
	// Managers are the others' first ports.
	Managers []string
}

// ErrLater says that the managers cannot do it now, but may soon: ask again.
var ErrLater = errors.New("not now")

// Office decides on the calls. An error's text reaches the caller; one that is ErrLater stays that.
type Office interface {
	Admit(ctx context.Context, r Request, from net.IP) (Grant, error)
	Renew(ctx context.Context, who identity.Peer, csr []byte) (identity.Signed, error)
	Enrol(ctx context.Context, who identity.Peer, e Enrolment) (Warrant, error)
}

// Serve answers on a manager's first port until the context ends.
func Serve(ctx context.Context, l net.Listener, node *identity.Node, office Office) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+joinPath, func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(ctx context.Context, in Request) (any, error) { return office.Admit(ctx, in, remoteIP(r)) })
	})
	mux.HandleFunc("POST "+renewPath, func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(ctx context.Context, in Renewal) (any, error) {
			who, err := caller(r)
			if err != nil {
				return nil, err
			}
			signed, err := office.Renew(ctx, who, in.CSR)
			return Renewal{Cert: signed.Cert, CA: signed.Trust}, err
		})
	})
	mux.HandleFunc("POST "+enrolPath, func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(ctx context.Context, in Enrolment) (any, error) {
			who, err := caller(r)
			if err != nil {
				return nil, err
			}
			return office.Enrol(ctx, who, in)
		})
	})
	server := &http.Server{Handler: mux, TLSConfig: node.Admission(), ReadTimeout: callTimeout, WriteTimeout: callTimeout}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	err := server.ServeTLS(l, "", "")
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("answer machines that join: %w", err)
}

// caller is the node that a request is from, by its certificate.
func caller(r *http.Request) (identity.Peer, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return identity.Peer{}, errors.New("a certificate of the cluster is necessary for that")
	}
	return identity.PeerOf(r.TLS.VerifiedChains[0][0])
}

func answer[In any](w http.ResponseWriter, r *http.Request, do func(context.Context, In) (any, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	var in In
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&in)
	var out any
	if err == nil {
		out, err = do(ctx, in)
	}
	switch {
	case errors.Is(err, ErrLater):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

func remoteIP(r *http.Request) net.IP {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return net.ParseIP(host)
}

// Join asks the manager at addr for admission.
func Join(ctx context.Context, addr string, token identity.Token, r Request) (Grant, error) {
	var g Grant
	return g, call(ctx, addr, joinPath, identity.Join(token), r, &g)
}

// Renew asks the manager at addr for a fresh certificate for a request of node.
func Renew(ctx context.Context, addr string, node *identity.Node, csr []byte) (identity.Signed, error) {
	var r Renewal
	err := call(ctx, addr, renewPath, node.Client(), Renewal{CSR: csr}, &r)
	return identity.Signed{Cert: r.Cert, Trust: r.CA}, err
}

// Enrol asks the manager at addr to make node one.
func Enrol(ctx context.Context, addr string, node *identity.Node, e Enrolment) (Warrant, error) {
	var w Warrant
	return w, call(ctx, addr, enrolPath, node.Client(), e, &w)
}

func call(ctx context.Context, addr, path string, config *tls.Config, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask manager %s: %w", addr, err)
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("ask manager %s: %w", addr, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("ask manager %s: %w", addr, err)
	}
	if resp.StatusCode == http.StatusServiceUnavailable {
		return fmt.Errorf("manager %s: %w: %s", addr, ErrLater, bytes.TrimSpace(data))
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("manager %s: %w", addr, errors.New(string(bytes.TrimSpace(data))))
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("read the answer of manager %s: %w", addr, err)
	}
	return nil
}
