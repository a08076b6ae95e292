package bus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"orch/internal/identity"
)

// A manager whose peers are lost for good goes on with what it has. The server's own way to that asks for half a minute of
// waiting and then for the removal of every lost peer; this one takes a second. The consensus group is founded anew, and the state is
// laid into its directory: a stream that is made where its files already lie takes them over, sequences included.
//
// The files must not be there while the group is founded: a member that is behind removes what its leader does
// not know. They are kept aside until they have been taken over, and whatever ends the process before, the next start goes on from them.

func (s *Server) aside() string { return filepath.Join(s.cfg.Dir, "rescued") }

func (s *Server) stateFiles() string {
	return filepath.Join(s.cfg.Dir, server.JetStreamStoreDir, accountState)
}

// rescue founds the group anew, if that is asked for or was begun.
func (s *Server) rescue(ctx context.Context) error {
	_, begun := os.Stat(s.aside())
	if !s.cfg.Rescue && begun != nil {
		return nil
	}
	s.cfg.Routes, s.cfg.Founding, s.cfg.Joining = nil, false, false
	if begun != nil {
		if err := os.Rename(s.stateFiles(), s.aside()); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return s.damaged(ErrNoState)
			}
			return s.explain(err)
		}
	}
	if err := s.refound(ctx); err != nil {
		return fmt.Errorf("found the cluster again in %s: %w", s.cfg.Dir, err)
	}
	if err := os.CopyFS(s.stateFiles(), os.DirFS(s.aside())); err != nil {
		return s.explain(err)
	}
	s.rescuing = true
	return identity.WriteFile(s.marker(), []byte(s.cfg.ClusterID+"\n"))
}

// refound makes a consensus group without a state, of this server alone, and stops.
func (s *Server) refound(ctx context.Context) error {
	if err := errors.Join(os.RemoveAll(s.marker()), os.RemoveAll(filepath.Join(s.cfg.Dir, server.JetStreamStoreDir))); err != nil {
		return err
	}
	group := &Server{cfg: s.cfg, log: s.log}
	err := group.run(ctx)
	if err == nil {
		group.ghost, err = group.startGhost()
	}
	if err == nil {
		err = group.found(ctx)
	}
	if err == nil {
		err = group.await(ctx, "a leader of the cluster state", func() (bool, error) { return group.hasLeader(true), nil })
	}
	return errors.Join(err, group.Shutdown(context.WithoutCancel(ctx)))
}

// Rescued says that this start went on from the state of a manager whose peers were lost.
func (s *Server) Rescued() bool { return s.rescued }

// takeOver makes the stream out of what was kept, and refuses to begin with nothing.
func (s *Server) takeOver(ctx context.Context) error {
	js, err := jetstream.New(s.state)
	if err != nil {
		return fmt.Errorf("reach the cluster state: %w", err)
	}
	if err := s.createStream(ctx, js, streamConfig(1)); err != nil {
		return fmt.Errorf("take over the cluster state in %s: %w", s.cfg.Dir, err)
	}
	if err := s.checkState(ctx); err != nil {
		return err
	}
	s.rescued = true
	return os.RemoveAll(s.aside())
}
