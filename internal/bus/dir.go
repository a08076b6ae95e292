package bus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
)

// ErrNoState says that a directory holds no cluster, though one was to be resumed.
var ErrNoState = errors.New("it holds no cluster")

// prepareDir says whether the directory is to become part of a cluster, and
// proves that it can be written to durably.
func (s *Server) prepareDir() (fresh bool, err error) {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return false, s.explain(err)
	}
	if err := probe(s.cfg.Dir); err != nil {
		return false, s.explain(err)
	}
	_, err = os.Stat(s.marker())
	switch {
	case err == nil:
		return false, s.checkKeys()
	case !errors.Is(err, os.ErrNotExist):
		return false, s.explain(err)
	case s.cfg.Founding, s.cfg.Joining:
		// Of an earlier attempt that did not reach its end nothing was acknowledged, and a
		// half-made consensus group would never elect.
		return true, os.RemoveAll(filepath.Join(s.cfg.Dir, server.JetStreamStoreDir))
	default:
		return false, s.damaged(ErrNoState)
	}
}

// minKey is less than the sealed key of any of the server's files.
const minKey = 40

// checkKeys looks at the keys of the server's files. The server itself would end the whole process over one that
// was cut short.
func (s *Server) checkKeys() error {
	return filepath.WalkDir(filepath.Join(s.cfg.Dir, server.JetStreamStoreDir), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return s.damaged(err)
		}
		if filepath.Ext(path) != ".key" {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return s.damaged(err)
		}
		if info.Size() < minKey {
			return s.damaged(fmt.Errorf("%s is cut short", path))
		}
		return nil
	})
}

func (s *Server) marker() string { return filepath.Join(s.cfg.Dir, "founded") }

// probe writes as much as a small transaction and takes it away again.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, ".probe.*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, 64<<10)); err != nil {
		return err
	}
	return f.Sync()
}
