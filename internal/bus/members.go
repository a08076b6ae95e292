package bus

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orch/internal/identity"
)

const (
	// maxReplicas is JetStream's limit on the copies of a stream.
	maxReplicas = 5
	// listEvery is how often a joining server asks whether it is listed.
	listEvery = 50 * time.Millisecond
	// memberTry bounds one question to the leader of the consensus group.
	memberTry = time.Second
	// leaderInfo asks every server; only the leader of the consensus group answers.
	leaderInfo = "$SYS.REQ.SERVER.PING.JSZ"
)

// metaLeader is the name of the consensus group's leader, "" if there is none.
func (s *Server) metaLeader() string {
	info, err := s.nats.Jsz(&server.JSzOptions{})
	if err != nil || info.Meta == nil {
		return ""
	}
	return info.Meta.Leader
}

// awaitListing waits until the leader of the consensus group counts this server as a member that has caught up.
func (s *Server) awaitListing(ctx context.Context) error {
	system, err := s.connect(s.tokenSystem, s.cfg.NodeID+" joining")
	if err != nil {
		return err
	}
	defer system.Close()
	tick := time.NewTicker(listEvery)
	defer tick.Stop()
	for {
		members, err := members(ctx, system)
		if err == nil && members[s.cfg.Name] {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// members are the servers that the leader of the consensus group lists, and whether each is there and has caught up.
func members(ctx context.Context, system *nats.Conn) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, memberTry)
	defer cancel()
	body, err := json.Marshal(server.JSzOptions{LeaderOnly: true})
	if err != nil {
		return nil, err
	}
	m, err := system.RequestWithContext(ctx, leaderInfo, body)
	if err != nil {
		return nil, fmt.Errorf("ask for the members of the cluster state: %w", err)
	}
	var answer struct {
		Data  *server.JSInfo   `json:"data"`
		Error *server.ApiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, fmt.Errorf("read the members of the cluster state: %w", err)
	}
	if answer.Data == nil || answer.Data.Meta == nil {
		return nil, errors.New("the cluster state has no leader")
	}
	list := map[string]bool{answer.Data.Meta.Leader: true}
	for _, p := range answer.Data.Meta.Replicas {
		list[p.Name] = p.Current && !p.Offline
	}
	return list, nil
}

// finishJoining marks the directory as one that must not lose what it holds.
func (s *Server) finishJoining(ctx context.Context) error {
	if err := s.checkState(ctx); err != nil {
		return err
	}
	return identity.WriteFile(s.marker(), []byte(s.cfg.ClusterID+"\n"))
}

// RemoveMember takes a server, by its name, out of the consensus group for good: it needs a majority. A manager that
// comes back after that has to join anew, with an empty directory and another name.
func (s *Server) RemoveMember(ctx context.Context, name string) error {
	s.stepDown(ctx, name)
	return s.removePeer(ctx, name)
}

// stepDown has a server hand over what it leads: that takes milliseconds, and an election after it is gone seconds. It is a
// courtesy, and fails if the server is gone already.
func (s *Server) stepDown(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, memberTry)
	defer cancel()
	if js, err := jetstream.New(s.state); err == nil {
		if stream, err := js.Stream(ctx, StateStream); err == nil && stream.CachedInfo().Cluster != nil && stream.CachedInfo().Cluster.Leader == name {
			_, _ = s.state.RequestWithContext(ctx, fmt.Sprintf(server.JSApiStreamLeaderStepDownT, StateStream), nil)
		}
	}
	if s.metaLeader() != name {
		return
	}
	system, err := s.connect(s.tokenSystem, s.cfg.NodeID+" system")
	if err != nil {
		return
	}
	defer system.Close()
	_, _ = system.RequestWithContext(ctx, server.JSApiLeaderStepDown, nil)
}

// Replicate makes as many copies of the state as there are managers, up to five. It changes nothing if that is so.
func (s *Server) Replicate(ctx context.Context, managers int) error {
	js, err := jetstream.New(s.state)
	if err != nil {
		return fmt.Errorf("reach the cluster state: %w", err)
	}
	stream, err := js.Stream(ctx, StateStream)
	if err != nil {
		return fmt.Errorf("open the cluster state: %w", err)
	}
	cfg, want := stream.CachedInfo().Config, min(max(managers, 1), maxReplicas)
	if cfg.Replicas == want {
		return nil
	}
	was := cfg.Replicas
	cfg.Replicas = want
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("keep %d copies of the cluster state instead of %d: %w", want, was, err)
	}
	return nil
}

// errBehind says that the state has to be copied before a manager can go.
var errBehind = errors.New("the other managers have not caught up with the cluster state yet")

// CanSpare says whether the state is safe without a server: every other one that is there has all of it, and
// they are the majority of what is left.
func (s *Server) CanSpare(ctx context.Context, name string) error {
	js, err := jetstream.New(s.state)
	if err != nil {
		return fmt.Errorf("reach the cluster state: %w", err)
	}
	stream, err := js.Stream(ctx, StateStream)
	if err != nil {
		return fmt.Errorf("open the cluster state: %w", err)
	}
	group := stream.CachedInfo().Cluster
	if group == nil {
		return errBehind
	}
	left, current := 0, 0
	for _, p := range append(group.Replicas, &jetstream.PeerInfo{Name: group.Leader, Current: true}) {
		switch {
		case p.Name == name:
			continue
		case p.Current && p.Lag == 0:
			current++
		case !p.Offline:
			return errBehind
		}
		left++
	}
	if current == 0 || current <= left/2 {
		return errBehind
	}
	return nil
}

// AdmitRoutes sets the managers that may connect to this one's consensus group.
func (s *Server) AdmitRoutes(nodes []string) { s.auth.admitRoutes(nodes) }

// memberID is the name that the consensus group has for a server: it is known by it even while it is away.
// Source: nats-server, events.go, getHash.
func memberID(name string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := sha256.Sum256([]byte(name))
	id := make([]byte, 8)
	for i := range id {
		id[i] = digits[int(sum[i])%len(digits)]
	}
	return string(id)
}
