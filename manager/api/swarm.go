package api

import (
	"fmt"
	"net/http"
	"strings"
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
	if err := checkAnnotatedName(spec.Name); err != nil {
		return err
	}
	err = a.Store.Update(r.Context(), func(tx *store.Tx) error {
		c := tx.Cluster()
		switch {
		case c == nil:
			return errNoCluster
		case c.Version.Index != index:
			return errOutOfSequence
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
	if f.RotateWorkerToken, err = rotation(r, "rotateWorkerToken"); err != nil {
		return f, err
	}
	if f.RotateManagerToken, err = rotation(r, "rotateManagerToken"); err != nil {
		return f, err
	}
	f.RotateManagerUnlockKey, err = rotation(r, "rotateManagerUnlockKey")
	return f, err
}

func rotation(r *http.Request, name string) (bool, error) {
	v, err := strictFlag(r, name)
	if err != nil {
		err = invalid("invalid value for %s: %s", name, r.URL.Query().Get(name))
	}
	return v, err
}

func (a *API) nextCluster(c *store.Cluster, spec swarm.Spec, rotate swarm.UpdateFlags) (*store.Cluster, error) {
	next := *c
	next.Spec = wholeCluster(spec)
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

// wholeCluster is a spec as an update leaves it: a client sends all of it, and
// what it leaves out is zero, which stands for the default.
// Source: moby, daemon/cluster/swarm.go, Update.
func wholeCluster(spec swarm.Spec) swarm.Spec {
	spec.Name = clusterName
	spec.Labels = orEmpty(spec.Labels)
	if spec.Orchestration.TaskHistoryRetentionLimit == nil {
		spec.Orchestration.TaskHistoryRetentionLimit = new(int64)
	}
	if spec.Raft.KeepOldSnapshots == nil {
		spec.Raft.KeepOldSnapshots = new(uint64)
	}
	return spec
}

// checkCluster refuses what Swarm refuses of a cluster's spec.
func checkCluster(s *swarm.Spec) error {
	if e := s.CAConfig.NodeCertExpiry; e != 0 && e < identity.MinValidity {
		return badSpec("minimum certificate expiry time is: 1h0m0s")
	}
	for _, ca := range s.CAConfig.ExternalCAs {
		if ca != nil && ca.Protocol != "" && !strings.EqualFold(string(ca.Protocol), string(swarm.ExternalCAProtocolCFSSL)) {
			return invalid("invalid protocol: %q", ca.Protocol)
		}
	}
	if s.Dispatcher.HeartbeatPeriod < 0 {
		return badSpec("heartbeat time period cannot be a negative duration")
	}
	if s.Dispatcher.HeartbeatPeriod > 24*time.Hour {
		return badSpec("heartbeat time period cannot be longer than a day")
	}
	return nil
}
