package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/identity"
	"orch/internal/store"
)

func (a *API) swarmRoutes() []route {
	return []route{
		{"GET", "/swarm", a.inspectSwarm},
		{"POST", "/swarm/update", a.updateSwarm},
		{"GET", "/swarm/unlockkey", a.unlockKey},
	}
}

// errNoCluster is for the moment between joining and having read the state.
var errNoCluster = refuse(errdefs.ErrUnavailable, notMember)

func (a *API) inspectSwarm(w http.ResponseWriter, _ *http.Request) error {
	c := a.Store.View().Cluster()
	if c == nil {
		return errNoCluster
	}
	return encode(w, http.StatusOK, swarm.Swarm{ClusterInfo: c.ClusterInfo, JoinTokens: c.JoinTokens})
}

func (a *API) unlockKey(w http.ResponseWriter, _ *http.Request) error {
	c := a.Store.View().Cluster()
	if c == nil {
		return errNoCluster
	}
	key := ""
	if len(c.UnlockKey) > 0 {
		var err error
		if key, err = a.OpenUnlock(c.UnlockKey); err != nil {
			return fmt.Errorf("open the unlock key: %w", err)
		}
	}
	return encode(w, http.StatusOK, swarm.UnlockKeyResponse{UnlockKey: key})
}

func (a *API) updateSwarm(w http.ResponseWriter, r *http.Request) error {
	var spec swarm.Spec
	if err := decode(r, &spec); err != nil {
		return err
	}
	index, err := version(r, "swarm")
	if err != nil {
		return err
	}
	rotate, err := rotations(r)
	if err != nil {
		return err
	}
	err = a.Store.Update(r.Context(), func(tx *store.Tx) error {
		c := tx.Cluster()
		switch {
		case c == nil:
			return errNoCluster
		case c.Version.Index != index:
			return errOutOfSequence
		case spec.Name != "" && spec.Name != c.Spec.Name:
			return badSpec("modification of cluster name is not allowed")
		}
		next, err := a.nextCluster(c, spec, rotate)
		if err != nil {
			return err
		}
		tx.Put(next)
		return nil
	})
	return done(w, err)
}

func rotations(r *http.Request) (f swarm.UpdateFlags, err error) {
	if f.RotateWorkerToken, err = strictFlag(r, "rotateWorkerToken"); err != nil {
		return f, err
	}
	if f.RotateManagerToken, err = strictFlag(r, "rotateManagerToken"); err != nil {
		return f, err
	}
	f.RotateManagerUnlockKey, err = strictFlag(r, "rotateManagerUnlockKey")
	return f, err
}

func (a *API) nextCluster(c *store.Cluster, spec swarm.Spec, rotate swarm.UpdateFlags) (*store.Cluster, error) {
	next := *c
	next.Spec = mergeCluster(c.Spec, spec)
	if err := checkCluster(&next.Spec); err != nil {
		return nil, err
	}
	if err := a.rotateCA(&next, c.Spec.CAConfig); err != nil {
		return nil, err
	}
	ca, err := identity.ParseCA([]byte(c.TLSInfo.TrustRoot), nil)
	if err != nil && (rotate.RotateWorkerToken || rotate.RotateManagerToken) {
		return nil, fmt.Errorf("rotate a join token: %w", err)
	}
	if rotate.RotateWorkerToken {
		next.JoinTokens.Worker = identity.NewToken(ca).Reveal()
	}
	if rotate.RotateManagerToken {
		next.JoinTokens.Manager = identity.NewToken(ca).Reveal()
	}
	switch lock := next.Spec.EncryptionConfig.AutoLockManagers; {
	case !lock:
		next.UnlockKey = nil
	case len(next.UnlockKey) == 0 || rotate.RotateManagerUnlockKey:
		next.UnlockKey = a.SealUnlock(identity.NewKey().Reveal())
	}
	return &next, nil
}

// rotateCA has another CA take over if the spec asks for one that it did not ask for before.
// The key that a client sends is sealed and goes no further.
func (a *API) rotateCA(next *store.Cluster, was swarm.CAConfig) error {
	asked := &next.Spec.CAConfig
	cert, key := asked.SigningCACert, asked.SigningCAKey
	asked.SigningCAKey = ""
	switch {
	case len(asked.ExternalCAs) > 0:
		return badSpec("an external CA is not possible: give the CA's own certificate and key")
	case cert == "" && key != "":
		return badSpec("if a signing CA key is provided, the signing CA cert must also be provided")
	case cert != "" && key == "" && cert != was.SigningCACert:
		return badSpec("if a signing CA cert is provided, its key must also be provided")
	case cert != "" && key != "":
		if err := a.RotateCA(next, []byte(cert), []byte(key)); err != nil {
			return badSpec("%v", err)
		}
	case asked.ForceRotate != was.ForceRotate:
		return a.RotateCA(next, nil, nil)
	}
	return nil
}

// mergeCluster is the spec that follows from an update: what an old client
// leaves out stays as it was.
// Source: moby, daemon/cluster/convert/swarm.go, MergeSwarmSpecToGRPC.
func mergeCluster(was, spec swarm.Spec) swarm.Spec {
	next := spec
	if next.Name == "" {
		next.Name = was.Name
	}
	if next.Labels == nil {
		next.Labels = was.Labels
	}
	if next.Orchestration.TaskHistoryRetentionLimit == nil {
		next.Orchestration = was.Orchestration
	}
	next.Raft = mergeRaft(was.Raft, spec.Raft)
	if next.Dispatcher.HeartbeatPeriod == 0 {
		next.Dispatcher = was.Dispatcher
	}
	if next.CAConfig.NodeCertExpiry == 0 {
		next.CAConfig.NodeCertExpiry = was.CAConfig.NodeCertExpiry
	}
	if next.TaskDefaults.LogDriver == nil {
		next.TaskDefaults = was.TaskDefaults
	}
	return next
}

func mergeRaft(was, next swarm.RaftConfig) swarm.RaftConfig {
	if next.SnapshotInterval == 0 {
		next.SnapshotInterval = was.SnapshotInterval
	}
	if next.KeepOldSnapshots == nil {
		next.KeepOldSnapshots = was.KeepOldSnapshots
	}
	if next.LogEntriesForSlowFollowers == 0 {
		next.LogEntriesForSlowFollowers = was.LogEntriesForSlowFollowers
	}
	if next.ElectionTick == 0 {
		next.ElectionTick = was.ElectionTick
	}
	if next.HeartbeatTick == 0 {
		next.HeartbeatTick = was.HeartbeatTick
	}
	return next
}

// checkCluster refuses what Swarm refuses of a cluster's spec.
func checkCluster(s *swarm.Spec) error {
	if e := s.CAConfig.NodeCertExpiry; e != 0 && e < identity.MinValidity {
		return badSpec("minimum certificate expiry time must be: 1h0m0s")
	}
	if s.Dispatcher.HeartbeatPeriod < 0 {
		return badSpec("heartbeat time period cannot be a negative duration")
	}
	if s.Dispatcher.HeartbeatPeriod > 24*time.Hour {
		return badSpec("heartbeat time period cannot be longer than a day")
	}
	return nil
}
