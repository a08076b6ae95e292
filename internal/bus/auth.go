package bus

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats-server/v2/server"

	"orch/internal/identity"
)

// auth decides who a connection is and what it may do. Connections from within
// the process show one of three random tokens; all others a node's certificate.
type auth struct {
	cluster string
	log     *slog.Logger
	tokens  map[string]local

	// mu guards what follows.
	mu      sync.Mutex
	server  *server.Server
	revoked map[string]bool
	clients map[string]map[uint64]struct{} // connections by node
	// managers are the nodes that may have routes here; nil while it is not known.
	managers map[string]bool
}

// local is a kind of connection that this process makes to itself.
type local struct {
	account string
	worker  string // node whose worker's permissions apply; "" for none of them
}

func newAuth(cluster string, log *slog.Logger) *auth {
	return &auth{
		cluster: cluster, log: log, tokens: map[string]local{},
		revoked: map[string]bool{}, clients: map[string]map[uint64]struct{}{},
	}
}

// admit makes a token for one kind of local connection; not safe once the server runs.
func (a *auth) admit(l local) string {
	token := rand.Text()
	a.tokens[token] = l
	return token
}

// Check implements server.Authentication.
func (a *auth) Check(c server.ClientAuthentication) bool {
	if addr := c.RemoteAddress(); addr != nil && addr.Network() == "pipe" {
		l, ok := a.tokens[c.GetOpts().Token]
		return ok && a.register(c, l)
	}
	state := c.GetTLSConnectionState()
	if state == nil || len(state.VerifiedChains) == 0 {
		return false
	}
	peer, err := identity.PeerOf(state.VerifiedChains[0][0])
	if err != nil || peer.Cluster != a.cluster {
		a.log.Warn("refused a connection: its certificate is not of a node of this cluster", "addr", c.RemoteAddress(), "err", err)
		return false
	}
	// Over the network a manager's certificate is worth no more than a worker's:
	// managers reach the state in their own process.
	return a.register(c, local{account: accountWorkers, worker: peer.Node})
}

func (a *auth) register(c server.ClientAuthentication, l local) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server == nil || a.revoked[l.worker] {
		return false
	}
	account, err := a.server.LookupAccount(l.account)
	if err != nil {
		a.log.Error("refused a connection", "account", l.account, "err", err)
		return false
	}
	user := &server.User{Username: l.account, Account: account}
	if l.worker != "" {
		user.Username, user.Permissions = l.worker, workerPermissions(l.worker)
		a.track(l.worker, c)
	}
	c.RegisterUser(user)
	return true
}

// workerPermissions is all that a worker may do: hear what it is told, and speak as itself.
func workerPermissions(node string) *server.Permissions {
	return &server.Permissions{
		Subscribe: &server.SubjectPermission{Allow: []string{toSubject(node, ">"), inboxPrefix(node) + ".>"}},
		Publish:   &server.SubjectPermission{Allow: []string{fromSubject(node, ">")}},
	}
}

func (a *auth) track(node string, c server.ClientAuthentication) {
	if a.clients[node] == nil {
		a.clients[node] = map[uint64]struct{}{}
	}
	// Connections that have ended since are forgotten here, so that the set stays
	// as small as the number that a node has at a time.
	for old := range a.clients[node] {
		if a.server.GetClient(old) == nil {
			delete(a.clients[node], old)
		}
	}
	a.clients[node][c.GetID()] = struct{}{}
}

// revoke sets the nodes that are refused and returns the connections to cut.
func (a *auth) revoke(nodes []string) (cut []uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.revoked)
	for _, node := range nodes {
		if node == "" {
			continue
		}
		a.revoked[node] = true
		for id := range a.clients[node] {
			cut = append(cut, id)
		}
		delete(a.clients, node)
	}
	return cut
}

// routeTLS lets only those managers connect that are known to be managers now:
// the certificate of one that was demoted is good for a while yet.
func (a *auth) routeTLS(c *tls.Config) *tls.Config {
	verify := func(s tls.ConnectionState) error {
		if err := c.VerifyConnection(s); err != nil {
			return err
		}
		peer, err := identity.PeerOf(s.PeerCertificates[0]) // verified by now
		if err != nil {
			return err
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if peer.Cluster != a.cluster || a.revoked[peer.Node] || a.managers != nil && !a.managers[peer.Node] {
			return fmt.Errorf("node %s is not a manager of this cluster", peer.Node)
		}
		return nil
	}
	out := c.Clone()
	out.VerifyConnection = verify
	out.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		now, err := c.GetConfigForClient(hello)
		if err != nil {
			return nil, err
		}
		now.VerifyConnection = verify // it is this handshake's own
		return now, nil
	}
	return out
}

// admitRoutes sets the nodes that may have routes here.
func (a *auth) admitRoutes(nodes []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.managers = map[string]bool{}
	for _, id := range nodes {
		a.managers[id] = true
	}
}

func (a *auth) serve(s *server.Server) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.server = s
}
