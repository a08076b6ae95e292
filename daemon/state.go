package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"orch/internal/identity"
)

// Files of a node, below the data directory. All of a cluster lies in one
// directory, so that leaving is removing it.
const (
	clusterDir = "swarm"
	stateFile  = "node.json"
	caFile     = "ca.crt"
	nodeFile   = "node.pem" // certificate and key, so that both change at once
	sealFile   = "seal.key"
	// snapshotDir holds a manager's copies of the state.
	snapshotDir = "snapshots"
)

// What nodeFile and sealFile are called where they are sealed.
const (
	nodeUse = "node"
	sealUse = "seal"
)

// membership is what a node remembers of being in a cluster. It is written last
// when a node joins: without it there is no membership.
type membership struct {
	NodeID    string
	ClusterID string
	Manager   bool
	// ListenAddr is host:port of the manager's first port; AdvertiseAddr what
	// others reach this node by (an address, and for managers a port).
	ListenAddr    string
	AdvertiseAddr string
	// Server is the manager's name in the managers' consensus.
	Server string `json:",omitempty"`
	// DataPathAddr and DataPathPort are where overlay traffic of others arrives.
	DataPathAddr string `json:",omitempty"`
	DataPathPort uint32 `json:",omitempty"`
	// Managers are the first ports of all managers that are known.
	Managers []string `json:",omitempty"`
}

// others are the managers but for the node itself.
func (m *membership) others() []string {
	return slices.DeleteFunc(slices.Clone(m.Managers), func(addr string) bool { return addr == m.AdvertiseAddr })
}

// turnTo are the managers in the order in which the node's worker turns to them: its own first.
func (m *membership) turnTo() []string {
	if m.Manager {
		return append([]string{m.AdvertiseAddr}, m.others()...)
	}
	return m.Managers
}

// credentials is what a member proves itself with.
type credentials struct {
	ca   *identity.CA
	node *identity.Node

	// mu guards what a node gets that becomes a manager, and loses again.
	mu   sync.Mutex
	seal identity.Key
	// box is what a manager's keys lie in on disk.
	box *strongbox

	// renew has a value when the managers want the node to have another certificate.
	renew chan struct{}
}

// stand has the node's certificate renewed unless it is what the managers want it to be.
func (c *credentials) stand(want string) {
	if want == "" || want == c.node.Standing() {
		return
	}
	select {
	case c.renew <- struct{}{}:
	default:
	}
}

// files reads and writes a node's directory.
type files struct{ dir string }

func (f files) path(name string) string { return filepath.Join(f.dir, clusterDir, name) }

// load reads the membership, nil if there is none. unlock is a locked manager's unlock
// key; without it only the membership is read, and the error is errLocked.
func (f files) load(unlock *identity.Key) (*membership, *credentials, error) {
	raw, err := os.ReadFile(f.path(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the node's state: %w", err)
	}
	m := &membership{}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, nil, fmt.Errorf("read the node's state: %s: %w", f.path(stateFile), err)
	}
	c, err := f.credentials(m.Manager, unlock)
	return m, c, err
}

func (f files) credentials(manager bool, unlock *identity.Key) (c *credentials, err error) {
	c = &credentials{renew: make(chan struct{}, 1)}
	// A node that was about to become a manager, or to be none, has a box already, or still.
	_, missing := os.Stat(f.path(lockFile))
	if manager || missing == nil {
		if c.box, err = openStrongbox(f, unlock); err != nil {
			return nil, err
		}
	}
	caPEM, err := os.ReadFile(f.path(caFile))
	if err != nil {
		return nil, fmt.Errorf("read the cluster's certificate: %w", err)
	}
	if c.ca, err = identity.ParseCA(caPEM, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", f.path(caFile), err)
	}
	pair, err := f.read(c.box, nodeFile, nodeUse)
	if err != nil {
		return nil, fmt.Errorf("read the node's certificate: %w", err)
	}
	if c.node, err = identity.NewNode(c.ca, pair, pair); err != nil {
		return nil, fmt.Errorf("%s: %w", f.path(nodeFile), err)
	}
	if manager {
		raw, err := f.read(c.box, sealFile, sealUse)
		if err != nil {
			return nil, fmt.Errorf("read the key that secrets are sealed with: %w", err)
		}
		if c.seal, err = identity.KeyFromBytes(raw); err != nil {
			return nil, fmt.Errorf("%s: %w", f.path(sealFile), err)
		}
	}
	return c, nil
}

// read is the content of a file that may be sealed.
func (f files) read(box *strongbox, name, use string) ([]byte, error) {
	content, err := os.ReadFile(f.path(name))
	if err != nil {
		return nil, err
	}
	data, err := box.open(content, use)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path(name), err)
	}
	return data, nil
}

// save writes a new membership. certPEM and keyPEM are the node's.
func (f files) save(m *membership, c *credentials, certPEM, keyPEM []byte) error {
	if err := os.MkdirAll(filepath.Join(f.dir, clusterDir), 0o700); err != nil {
		return fmt.Errorf("make the node's directory: %w", err)
	}
	if m.Manager && c.box == nil {
		c.box = newStrongbox(f)
	}
	if c.box != nil {
		if err := c.box.save(); err != nil {
			return fmt.Errorf("write the node's state: %w", err)
		}
	}
	pair := c.box.seal(slices.Concat(certPEM, keyPEM), nodeUse)
	for _, file := range []struct {
		name string
		data []byte
	}{{caFile, c.node.Trust().TrustPEM()}, {nodeFile, pair}, {sealFile, c.box.seal(c.seal.Bytes(), sealUse)}} {
		if file.name == sealFile && !m.Manager {
			continue
		}
		if err := identity.WriteFile(f.path(file.name), file.data); err != nil {
			return fmt.Errorf("write the node's state: %w", err)
		}
	}
	return f.saveMembership(m)
}

// saveMembership replaces what the node remembers.
func (f files) saveMembership(m *membership) error {
	state, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := identity.WriteFile(f.path(stateFile), state); err != nil {
		return fmt.Errorf("write the node's state: %w", err)
	}
	return nil
}

// saveManager gives a node what only a manager has, in a box of its own.
func (f files) saveManager(c *credentials, seal identity.Key) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.box == nil {
		c.box = newStrongbox(f)
	}
	c.seal = seal
	err := c.box.save()
	if err == nil {
		err = identity.WriteFile(f.path(sealFile), c.box.seal(seal.Bytes(), sealUse))
	}
	if err != nil {
		return fmt.Errorf("write the manager's keys: %w", err)
	}
	return nil
}

// removeManager takes away what only a manager has, and leaves the node's own certificate in the clear.
func (f files) removeManager(c *credentials, stateDir string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := errors.Join(os.RemoveAll(stateDir), os.RemoveAll(f.path(snapshotDir)), os.RemoveAll(f.path(sealFile)))
	pair, failed := f.read(c.box, nodeFile, nodeUse)
	if failed == nil {
		failed = identity.WriteFile(f.path(nodeFile), pair)
	}
	if failed == nil {
		failed = os.RemoveAll(f.path(lockFile))
	}
	c.box, c.seal = nil, identity.Key{}
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("remove the manager's state and keys: %w", err)
	}
	return nil
}

// saver replaces whom the node trusts, its certificate and its key. A node that stops half-way trusts one more or one
// fewer than it was to; its certificate is good with both.
func (f files) saver(c *credentials) func(trustPEM, certPEM, keyPEM []byte) error {
	return func(trustPEM, certPEM, keyPEM []byte) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := identity.WriteFile(f.path(caFile), trustPEM); err != nil {
			return err
		}
		return identity.WriteFile(f.path(nodeFile), c.box.seal(slices.Concat(certPEM, keyPEM), nodeUse))
	}
}

// remove forgets the membership: the state file first, so that a remove that
// stops half-way leaves no half member.
func (f files) remove() error {
	if err := os.Remove(f.path(stateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the node's state: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(f.dir, clusterDir)); err != nil {
		return fmt.Errorf("remove the node's directory: %w", err)
	}
	return nil
}
