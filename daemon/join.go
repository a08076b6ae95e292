package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/admission"
	"orch/internal/identity"
)

// errJoinTimeout is Swarm's text.
// Source: moby, daemon/cluster/errors.go.
var errJoinTimeout = errdefs.ErrUnavailable.WithMessage("Timeout was reached before node joined. The attempt to join the swarm will continue in the background. " +
	`Use the "docker info" command to see the current swarm status of your node.`)

// joinWait is how long a machine that joins as a manager waits to be one: others may be joining before it.
const joinWait = 60 * time.Second

// Join makes the node a member of the cluster that the join token is of, and with a manager's token waits until it is one.
func (d *Daemon) Join(ctx context.Context, r swarm.JoinRequest) error {
	n, manager, err := d.join(ctx, r)
	if err != nil || !manager {
		return err
	}
	late := time.After(joinWait)
	tick := time.NewTicker(managerPoll)
	defer tick.Stop()
	for n.manager.Load() == nil {
		select {
		case <-tick.C:
		case <-n.done:
			return errors.New("the node left the cluster, or its daemon stopped, before it became a manager")
		case <-late:
			return errJoinTimeout
		case <-ctx.Done():
			return errJoinTimeout
		}
	}
	return nil
}

// managerPoll is how often is asked whether the node has become a manager.
const managerPoll = 20 * time.Millisecond

// join makes the node a worker, and says whether it is to be a manager.
func (d *Daemon) join(ctx context.Context, r swarm.JoinRequest) (n *node, manager bool, err error) {
	d.change.Lock()
	defer d.change.Unlock()
	if d.node != nil || d.idle != nil {
		return nil, false, errMember
	}
	if len(r.RemoteAddrs) == 0 {
		return nil, false, errdefs.ErrInvalidArgument.WithMessage("at least 1 RemoteAddr is required to join")
	}
	token, err := identity.ParseToken(r.JoinToken)
	if err != nil {
		d.log.Warn("a join token is not one", "error", err)
		return nil, false, identity.ErrToken // 500, and these words, as Swarm has it
	}
	if err := d.checkEngine(ctx); err != nil {
		return nil, false, err
	}
	request, keyPEM, err := newRequest()
	if err != nil {
		return nil, false, err
	}
	grant, err := ask(ctx, remotes(r.RemoteAddrs), token, admission.Request{Token: r.JoinToken, CSR: request.CSR(), Availability: r.Availability})
	if err != nil {
		return nil, false, errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	m, err := d.grantedMembership(r, grant)
	if err != nil {
		return nil, false, errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	if err := d.files.remove(); err != nil {
		return nil, false, err
	}
	ca, err := identity.ParseCA(grant.CA, nil)
	if err != nil {
		return nil, false, err
	}
	node, err := identity.NewNode(ca, grant.Cert, keyPEM)
	if err != nil {
		return nil, false, err
	}
	c := &credentials{ca: ca, node: node, renew: make(chan struct{}, 1)}
	if err := d.files.save(m, c, grant.Cert, keyPEM); err != nil {
		return nil, false, err
	}
	if n, err = d.start(ctx, m, c, managing{}); err != nil {
		return nil, false, errors.Join(err, d.files.remove())
	}
	d.enter(n)
	d.log.Info("joined a cluster", "cluster", m.ClusterID, "node", m.NodeID, "managers", m.Managers)
	return n, grant.Manager, nil
}

// remotes adds the port that is usual to addresses without one.
func remotes(addrs []string) []string {
	out := slices.Clone(addrs)
	for i, addr := range out {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			out[i] = net.JoinHostPort(addr, strconv.Itoa(defaultPort))
		}
	}
	return out
}

// ask tries the managers one after the other.
func ask(ctx context.Context, addrs []string, token identity.Token, r admission.Request) (admission.Grant, error) {
	var errs []error
	for _, addr := range addrs {
		grant, err := admission.Join(ctx, addr, token, r)
		if err == nil {
			return grant, nil
		}
		errs = append(errs, err)
	}
	return admission.Grant{}, errors.Join(errs...)
}

// grantedMembership is that of a worker, which may become a manager: it then listens where it was told to. Others reach it
// over the address that it reaches the manager from, unless it was told another.
func (d *Daemon) grantedMembership(r swarm.JoinRequest, g admission.Grant) (*membership, error) {
	m := &membership{NodeID: g.NodeID, ClusterID: g.ClusterID, Managers: g.Managers, DataPathPort: g.DataPathPort}
	listen, err := address(orElse(r.ListenAddr, d.cfg.ListenAddr), defaultPort)
	if err != nil {
		return nil, fmt.Errorf("listen address: %w", err)
	}
	m.ListenAddr = listen.String()
	asked := orElse(r.AdvertiseAddr, d.cfg.AdvertiseAddr)
	if asked == "" {
		conn, err := net.Dial("udp", remotes(r.RemoteAddrs)[0]) // sends nothing
		if err != nil {
			return nil, fmt.Errorf("find the address that others reach this node by: %w", err)
		}
		defer conn.Close()
		asked = conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().String()
	}
	advertise, err := address(asked, listen.Port())
	if err != nil {
		return nil, fmt.Errorf("advertise address: %w", err)
	}
	m.AdvertiseAddr, m.DataPathAddr = advertise.String(), advertise.Addr().String()
	if r.DataPathAddr != "" {
		path, err := address(r.DataPathAddr, 0)
		if err != nil {
			return nil, fmt.Errorf("data path address: %w", err)
		}
		m.DataPathAddr = path.Addr().String()
	}
	return m, nil
}
