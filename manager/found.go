package manager

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/identity"
	"orch/internal/snapshot"
	"orch/internal/store"
	"orch/manager/allocator"
)

// Founding is what a new cluster starts with.
type Founding struct {
	Request swarm.InitRequest
	CA      *identity.CA // with its key
	// Addr is where the first manager is reached, host:port.
	Addr string
	// Restore is what the cluster begins with, if it is not a new one.
	Restore *snapshot.Snapshot
}

// firstSeq is where the sequences of the stream begin.
func (f *Founding) firstSeq() uint64 {
	if f == nil || f.Restore == nil {
		return 0
	}
	return f.Restore.Seq + seqGap
}

// Defaults of a cluster's spec.
// Source: swarmkit's manager and daemon/cluster of moby, as `docker swarm init` leaves them.
const (
	taskHistory       = int64(5)
	snapshotInterval  = uint64(10000)
	slowFollowers     = uint64(500)
	electionTick      = 10
	heartbeatTick     = 1
	defaultSubnetSize = uint32(24)
	defaultDataPort   = uint32(4789)
	defaultPool       = "10.0.0.0/8"
	// defaultHeartbeat is what Swarm shows. Workers of orch beat five times as
	// often (see beat), so that a lost one is noticed in seconds.
	defaultHeartbeat = 5 * time.Second
)

// found writes the first objects of a cluster: the cluster, its first node and the
// ingress network.
func found(tx *store.Tx, cfg Config) error {
	f := cfg.Founding
	if tx.Cluster() != nil {
		return nil
	}
	key, err := f.CA.KeyPEM()
	if err != nil {
		return fmt.Errorf("found the cluster: %w", err)
	}
	c := &store.Cluster{}
	c.ID = cfg.ClusterID
	c.Histories = []string{identity.NewID()}
	c.Spec = clusterSpec(f.Request)
	c.TLSInfo = TLSInfo(f.CA)
	c.DataPathPort, c.SubnetSize = f.Request.DataPathPort, f.Request.SubnetSize
	switch {
	case len(f.Request.DefaultAddrPool) > 0:
		c.DefaultAddrPool = f.Request.DefaultAddrPool
	case c.SubnetSize == 0: // Swarm shows its own pool to who says nothing at all
		c.DefaultAddrPool = []string{defaultPool}
	}
	if c.DataPathPort == 0 {
		c.DataPathPort = defaultDataPort
	}
	if c.SubnetSize == 0 {
		c.SubnetSize = defaultSubnetSize
	}
	c.JoinTokens = swarm.JoinTokens{Worker: identity.NewToken(f.CA).Reveal(), Manager: identity.NewToken(f.CA).Reveal()}
	c.CAKey = identity.Seal(cfg.Seal, key, caUse(c.ID))
	if c.Spec.EncryptionConfig.AutoLockManagers {
		c.UnlockKey = identity.Seal(cfg.Seal, []byte(identity.NewKey().Reveal()), unlockUse)
	}
	tx.Put(c)
	tx.Put(firstNode(cfg))
	tx.Put(ingress())
	for _, name := range []string{"bridge", "host"} {
		tx.Put(allocator.Predefined(identity.NewID(), name))
	}
	return nil
}

// clusterSpec fills the defaults into the spec of an init request.
func clusterSpec(r swarm.InitRequest) swarm.Spec {
	s := r.Spec
	if s.Name == "" {
		s.Name = "default"
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	if s.Orchestration.TaskHistoryRetentionLimit == nil {
		limit := taskHistory
		s.Orchestration.TaskHistoryRetentionLimit = &limit
	}
	if s.Raft.SnapshotInterval == 0 {
		s.Raft.SnapshotInterval = snapshotInterval
	}
	if s.Raft.KeepOldSnapshots == nil {
		none := uint64(0)
		s.Raft.KeepOldSnapshots = &none
	}
	if s.Raft.LogEntriesForSlowFollowers == 0 {
		s.Raft.LogEntriesForSlowFollowers = slowFollowers
	}
	if s.Raft.ElectionTick == 0 {
		s.Raft.ElectionTick = electionTick
	}
	if s.Raft.HeartbeatTick == 0 {
		s.Raft.HeartbeatTick = heartbeatTick
	}
	if s.Dispatcher.HeartbeatPeriod == 0 {
		s.Dispatcher.HeartbeatPeriod = defaultHeartbeat
	}
	if s.CAConfig.NodeCertExpiry == 0 {
		s.CAConfig.NodeCertExpiry = identity.DefaultValidity
	}
	s.EncryptionConfig.AutoLockManagers = r.AutoLockManagers || s.EncryptionConfig.AutoLockManagers
	return s
}

// NodeTLSInfo shows whose certificates a node trusts, and who made its own.
func NodeTLSInfo(n *identity.Node) swarm.TLSInfo {
	subject, key := n.Issuer()
	return swarm.TLSInfo{TrustRoot: string(n.Trust().TrustPEM()), CertIssuerSubject: subject, CertIssuerPublicKey: key}
}

// TLSInfo shows whose certificates a cluster trusts.
func TLSInfo(ca *identity.CA) swarm.TLSInfo {
	subject, key := ca.Subject()
	return swarm.TLSInfo{TrustRoot: string(ca.CertPEM()), CertIssuerSubject: subject, CertIssuerPublicKey: key}
}

func firstNode(cfg Config) *store.Node {
	n := &store.Node{}
	n.ID = cfg.NodeID
	n.Spec.Role, n.Spec.Availability = swarm.NodeRoleManager, swarm.NodeAvailabilityActive
	n.Spec.Labels = map[string]string{}
	if cfg.Founding.Request.Availability != "" {
		n.Spec.Availability = cfg.Founding.Request.Availability
	}
	host, _, _ := net.SplitHostPort(cfg.Founding.Addr)
	n.Status = swarm.NodeStatus{State: swarm.NodeStateUnknown, Addr: host}
	n.Description.TLSInfo = TLSInfo(cfg.Founding.CA)
	n.Server = cfg.NodeID
	if cfg.Server != "" {
		n.Server = cfg.Server
	}
	n.ManagerStatus = &swarm.ManagerStatus{Leader: true, Reachability: swarm.ReachabilityReachable, Addr: cfg.Founding.Addr}
	return n
}

// ingress is the network behind published ports, as Swarm creates it.
func ingress() *store.Network {
	n := &store.Network{}
	n.ID = identity.NewID()
	n.Spec.Name, n.Spec.Ingress, n.Spec.Scope = "ingress", true, "swarm"
	n.Spec.Labels = map[string]string{}
	n.Spec.DriverConfiguration = &swarm.Driver{Name: "overlay"}
	n.Spec.IPAMOptions = &swarm.IPAMOptions{}
	return n
}

// beat is how often workers send a heartbeat: a fifth of what the cluster's spec
// says, which makes Swarm's default of 5 s one second.
func beat(c *store.Cluster) time.Duration {
	return max(cmp.Or(c.Spec.Dispatcher.HeartbeatPeriod, defaultHeartbeat)/5, 200*time.Millisecond)
}

// Validate refuses what a cluster cannot start with.
func (f *Founding) Validate() error {
	if f.Request.ForceNewCluster {
		return errors.New("this node has no cluster whose managers were lost: there is nothing to force")
	}
	if err := checkPools(f.Request.DefaultAddrPool, f.Request.SubnetSize); err != nil {
		return err
	}
	if p := f.Request.DataPathPort; p != 0 && (p < 1024 || p > 49151) {
		//lint:ignore ST1005 Swarm's words
		return fmt.Errorf("Datapath port number is not in valid range (1024-49151) : %d", p)
	}
	switch f.Request.Availability {
	case "", swarm.NodeAvailabilityActive, swarm.NodeAvailabilityPause, swarm.NodeAvailabilityDrain:
	default:
		return fmt.Errorf("invalid Availability: %q", f.Request.Availability)
	}
	if e := f.Request.Spec.CAConfig.NodeCertExpiry; e != 0 && e < identity.MinValidity {
		return fmt.Errorf("minimum certificate expiry time must be: %s", strings.TrimSuffix(identity.MinValidity.String(), "0m0s"))
	}
	return nil
}

// checkPools refuses address pools that no network of the wanted size fits into.
func checkPools(pools []string, size uint32) error {
	size = cmp.Or(size, defaultSubnetSize)
	var seen []*net.IPNet
	for _, pool := range pools {
		_, n, err := net.ParseCIDR(pool)
		if err != nil {
			return fmt.Errorf("invalid base pool %s: %w", pool, err)
		}
		if ones, _ := n.Mask.Size(); size < uint32(ones) || size > 29 {
			return fmt.Errorf("invalid subnet size %d for pool %s: a network needs from /%d to /29", size, pool, ones)
		}
		for _, other := range seen {
			if other.Contains(n.IP) || n.Contains(other.IP) {
				return fmt.Errorf("address pools %s and %s overlap", other, n)
			}
		}
		seen = append(seen, n)
	}
	return nil
}
