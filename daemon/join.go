package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/admission"
	"orch/internal/identity"
)

// Join makes the node a worker of the cluster that the join token is of.
func (d *Daemon) Join(ctx context.Context, r swarm.JoinRequest) error {
	d.change.Lock()
	defer d.change.Unlock()
	if d.node != nil || d.idle != nil {
		return errMember
	}
	token, err := identity.ParseToken(r.JoinToken)
	if err != nil {
		return err // 500, as Swarm has it
	}
	if err := d.checkEngine(ctx); err != nil {
		return err
	}
	request, err := identity.NewRequest()
	if err != nil {
		return err
	}
	keyPEM, err := request.KeyPEM()
	if err != nil {
		return err
	}
	grant, err := ask(ctx, remotes(r.RemoteAddrs), token, admission.Request{Token: r.JoinToken, CSR: request.CSR(), Availability: r.Availability})
	if err != nil {
		return errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	m, err := d.grantedMembership(r, grant)
	if err != nil {
		return errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	if err := d.files.remove(); err != nil {
		return err
	}
	ca, err := identity.ParseCA(grant.CA, nil)
	if err != nil {
		return err
	}
	node, err := identity.NewNode(ca, grant.Cert, keyPEM)
	if err != nil {
		return err
	}
	c := &credentials{ca: ca, node: node, renew: make(chan struct{}, 1)}
	if err := d.files.save(m, c, grant.Cert, keyPEM); err != nil {
		return err
	}
	n, err := d.start(ctx, m, c, nil)
	if err != nil {
		return errors.Join(err, d.files.remove())
	}
	d.enter(n)
	d.log.Info("joined a cluster", "cluster", m.ClusterID, "node", m.NodeID, "managers", m.Managers)
	return nil
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

// grantedMembership is a worker's: it listens to nobody, and is reached by others
// over the address that it reaches the manager from.
func (d *Daemon) grantedMembership(r swarm.JoinRequest, g admission.Grant) (*membership, error) {
	m := &membership{NodeID: g.NodeID, ClusterID: g.ClusterID, Managers: g.Managers, Admission: remotes(r.RemoteAddrs), DataPathPort: g.DataPathPort}
	asked := orElse(r.DataPathAddr, orElse(r.AdvertiseAddr, d.cfg.AdvertiseAddr))
	if asked == "" {
		conn, err := net.Dial("udp", m.Admission[0]) // sends nothing
		if err != nil {
			return nil, fmt.Errorf("find the address that others reach this node by: %w", err)
		}
		defer conn.Close()
		asked = conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().String()
	}
	addr, err := address(asked, 0)
	if err != nil {
		return nil, fmt.Errorf("advertise address: %w", err)
	}
	m.DataPathAddr = addr.Addr().String()
	m.AdvertiseAddr = netip.AddrPortFrom(addr.Addr(), 0).String()
	return m, nil
}

// keepFresh renews a worker's certificate with the managers that admitted it.
func (d *Daemon) keepFresh(ctx context.Context, m *membership, c *credentials) error {
	sign := func(ctx context.Context, csr []byte) (identity.Signed, error) {
		var errs []error
		for _, addr := range m.Admission {
			signed, err := admission.Renew(ctx, addr, c.node, csr)
			if err == nil {
				return signed, nil
			}
			errs = append(errs, err)
		}
		return identity.Signed{}, errors.Join(errs...)
	}
	return identity.KeepFresh(ctx, c.node, c.renew, d.files.saver(c), sign, func(err error, again time.Duration) {
		d.log.Warn("the node's certificate could not be renewed", "again in", again, "error", err)
	})
}
