package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orch/internal/identity"
)

// JetStream has a standalone and a clustered mode, and state does not pass from one
// to the other. A manager is therefore clustered from its first day, and two
// peculiarities of the server stand in the way of a cluster of one:
//
//   - It waits, before it takes part in an election, for a connection to some
//     other server. The ghost is one: a leaf node in this process without
//     JetStream, in an account of its own.
//   - It expects a new cluster to have at least two members. So founding runs a
//     second full server for a moment, and removes it again as one removes a dead
//     manager. The size of one that results is on disk.

// removeTry is how long one request to remove a server waits; it is answered
// within milliseconds or not at all.
const removeTry = 300 * time.Millisecond

// errMoving says that the members of the consensus group are changing already.
var errMoving = errors.New("the managers are changing already")

// startGhost connects a leaf node to the server.
func (s *Server) startGhost() (*server.Server, error) {
	leaf := s.opts.LeafNode
	remote := &url.URL{
		Scheme: "nats-leaf", Host: fmt.Sprintf("%s:%d", leaf.Host, leaf.Port),
		User: url.UserPassword(leaf.Username, leaf.Password),
	}
	ghost, err := server.NewServer(&server.Options{
		ServerName: s.cfg.Name + "-ghost", DontListen: true, NoSigs: true,
		LeafNode: server.LeafNodeOpts{Remotes: []*server.RemoteLeafOpts{{URLs: []*url.URL{remote}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("configure the ghost: %w", err)
	}
	ghost.SetLogger(&natsLog{log: s.log.With("server", "ghost")}, false, false)
	ghost.Start()
	return ghost, nil
}

// found makes a consensus group of which this server is the only member.
func (s *Server) found(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "orch-founding-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	second, err := s.startSecond(dir)
	if err != nil {
		return err
	}
	defer func() { second.Shutdown(); second.WaitForShutdown() }()

	err = s.await(ctx, "the founding pair to elect", func() (bool, error) {
		peers := append(s.nats.JetStreamClusterPeers(), second.JetStreamClusterPeers()...)
		return slices.Contains(peers, s.nats.Name()) && slices.Contains(peers, second.Name()), nil
	})
	if err != nil {
		return err
	}
	return s.removePeer(ctx, second.Name())
}

func (s *Server) startSecond(dir string) (*server.Server, error) {
	o := &server.Options{}
	if err := o.ProcessConfigString(accounts); err != nil {
		return nil, fmt.Errorf("configure the second founder: %w", err)
	}
	o.ServerName, o.NoSigs, o.DisableJetStreamBanner = s.cfg.Name+"-founder", true, true
	o.JetStream, o.StoreDir = true, dir
	// A server without a listener for clients makes no routes either; this one lets nobody in.
	o.Host, o.Port = "127.0.0.1", server.RANDOM_PORT
	o.CustomClientAuthentication = newAuth(s.cfg.ClusterID, s.log)
	o.Cluster = server.ClusterOpts{
		Name: clusterName, Host: "127.0.0.1", Port: server.RANDOM_PORT,
		TLSConfig: s.cfg.RouteTLS, TLSTimeout: tlsTimeout,
	}
	o.Routes = []*url.URL{routeURL(fmt.Sprintf("%s:%d", localHost(s.opts.Cluster.Host), s.opts.Cluster.Port))}
	second, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("configure the second founder: %w", err)
	}
	second.SetLogger(&natsLog{log: s.log.With("server", "founder")}, false, false)
	second.Start()
	return second, nil
}

// removePeer takes a server out of the consensus group. A request that nobody
// answers is repeated: the leader may have changed, or have been the one removed.
func (s *Server) removePeer(ctx context.Context, name string) error {
	conn, err := s.connect(s.tokenSystem, s.cfg.NodeID+" system")
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		err := requestRemoval(ctx, conn, name)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("remove manager %s: %w", name, err)
		case errors.Is(err, errMoving):
			select {
			case <-time.After(pollEvery):
			case <-ctx.Done():
			}
		case !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrNoResponders):
			return fmt.Errorf("remove manager %s: %w", name, err)
		}
	}
}

func requestRemoval(ctx context.Context, conn *nats.Conn, name string) error {
	ctx, cancel := context.WithTimeout(ctx, removeTry)
	defer cancel()
	body, err := json.Marshal(server.JSApiMetaServerRemoveRequest{Server: name, Peer: memberID(name)})
	if err != nil {
		return err
	}
	msg, err := conn.RequestWithContext(ctx, server.JSApiRemoveServer, body)
	if err != nil {
		return err
	}
	var resp server.JSApiMetaServerRemoveResponse
	if err := json.Unmarshal(msg.Data, &resp); err != nil {
		return err
	}
	switch {
	case resp.Error == nil, resp.Error.ErrCode == uint16(server.JSClusterServerNotMemberErr):
		return nil
	case resp.Error.ErrCode == uint16(server.JSClusterServerMemberChangeInflightErr):
		return errMoving
	}
	return resp.Error
}

// finishFounding makes the stream, and then the mark that says that the
// directory holds a cluster: from here on nothing may be missing from it.
func (s *Server) finishFounding(ctx context.Context) error {
	js, err := jetstream.New(s.state)
	if err != nil {
		return fmt.Errorf("reach the cluster state: %w", err)
	}
	stream := streamConfig(1)
	stream.FirstSeq = s.cfg.FirstSeq
	if err := s.createStream(ctx, js, stream); err != nil {
		return fmt.Errorf("create the cluster state in %s: %w", s.cfg.Dir, err)
	}
	// The consensus group would make a stream that is lost anew, and empty.
	if _, err := js.Publish(ctx, StateSubject(FoundedKey), []byte(s.cfg.ClusterID)); err != nil {
		return fmt.Errorf("write the cluster state in %s: %w", s.cfg.Dir, err)
	}
	return identity.WriteFile(s.marker(), []byte(s.cfg.ClusterID+"\n"))
}

// createStream makes the stream as soon as the server has heard from itself that it has room for one.
func (s *Server) createStream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) error {
	return s.await(ctx, "room for the cluster state", func() (bool, error) {
		_, err := js.CreateStream(ctx, cfg)
		var refused *jetstream.APIError
		if errors.As(err, &refused) && refused.ErrorCode == jetstream.ErrorCode(server.JSClusterNoPeersErrF) {
			return false, nil
		}
		return err == nil, err
	})
}

// checkState refuses to go on with less than the cluster has acknowledged.
func (s *Server) checkState(ctx context.Context) error {
	js, err := jetstream.New(s.state)
	if err != nil {
		return fmt.Errorf("reach the cluster state: %w", err)
	}
	lost := errors.New("the directory belongs to a cluster, but its state is missing or unreadable")
	stream, err := js.Stream(ctx, StateStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return s.damaged(lost)
	}
	if err != nil {
		return fmt.Errorf("open the cluster state in %s: %w", s.cfg.Dir, err)
	}
	m, err := stream.GetLastMsgForSubject(ctx, StateSubject(FoundedKey))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return s.damaged(lost)
	case err != nil:
		return fmt.Errorf("open the cluster state in %s: %w", s.cfg.Dir, err)
	case string(m.Data) != s.cfg.ClusterID:
		return s.damaged(fmt.Errorf("it is the state of cluster %s, not of %s", m.Data, s.cfg.ClusterID))
	}
	return nil
}

func streamConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              StateStream,
		Subjects:          []string{stateSubjects},
		Storage:           jetstream.FileStorage,
		Retention:         jetstream.LimitsPolicy,
		MaxMsgsPerSubject: 1,
		Replicas:          replicas,
		// A read must never come from a replica that lags behind.
		AllowDirect:        false,
		AllowAtomicPublish: true,
		// The lease and what is left of deleted keys end by themselves.
		AllowMsgTTL: true,
		DenyDelete:  true,
	}
}
