// Package snapshot keeps copies of the state off the stream: what a manager compares the
// stream with before it trusts it, and what a cluster is restored from.
//
// A copy is sealed as a whole, so that one which is torn or altered is known as such, and is
// either read completely or not at all. The package knows files and sealing; when to take
// one, and what to do about a stream that has lost something, is the manager's.
package snapshot

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"orch/internal/identity"
	"orch/internal/store"
)

const (
	// kept is how many copies a manager keeps: the last may be of the moment that something went wrong.
	kept   = 3
	suffix = ".snapshot"
	use    = "snapshot"
	// maxSize bounds what is unpacked; 100,000 tasks are a fifth of it.
	maxSize = 2 << 30
)

// Snapshot is the whole state at one moment.
type Snapshot struct {
	Cluster string
	// History is the stream's life that it was taken of (store.Cluster).
	History string
	// Seq is the sequence of the last write in it.
	Seq     uint64
	Taken   time.Time
	Entries []store.Entry
}

// Take copies a view; nil if there is no cluster in it yet.
func Take(v *store.View, now time.Time) (*Snapshot, error) {
	c := v.Cluster()
	if c == nil {
		return nil, nil
	}
	entries, err := v.Entries()
	if err != nil {
		return nil, fmt.Errorf("copy the cluster state: %w", err)
	}
	return &Snapshot{Cluster: c.ID, History: c.Present(), Seq: v.Seq(), Taken: now.UTC(), Entries: entries}, nil
}

// Pack is the snapshot as bytes.
func (s *Snapshot) Pack() ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(s), z.Close()); err != nil {
		return nil, fmt.Errorf("pack a snapshot: %w", err)
	}
	return b.Bytes(), nil
}

// Unpack reads what Pack made.
func Unpack(data []byte) (*Snapshot, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unpack a snapshot: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(z, maxSize))
	if err != nil {
		return nil, fmt.Errorf("unpack a snapshot: %w", err)
	}
	s := &Snapshot{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("unpack a snapshot: %w", err)
	}
	return s, nil
}

// Missing are the entries of the snapshot that a later view has no longer, or an older form of.
func (s *Snapshot) Missing(v *store.View) (gone, older []string) {
	for _, e := range s.Entries {
		if e.Seq == 0 {
			continue // claims follow from the objects
		}
		switch held := v.Holds(e); {
		case held == 0:
			gone = append(gone, e.Key)
		case held < e.Seq:
			older = append(older, e.Key)
		}
	}
	return gone, older
}

// Shelf is the directory of a manager's copies.
type Shelf struct {
	Dir string
	Key identity.Key
}

// Put adds a snapshot and drops the oldest ones. Several of one sequence are one.
func (s Shelf) Put(snap *Snapshot) error {
	data, err := snap.Pack()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("keep a snapshot: %w", err)
	}
	// Names sort as the moments do.
	name := fmt.Sprintf("%s-%020d%s", snap.Taken.Format("20060102T150405Z"), snap.Seq, suffix)
	if err := identity.WriteFile(filepath.Join(s.Dir, name), identity.SealFile(s.Key, data, use)); err != nil {
		return fmt.Errorf("keep a snapshot: %w", err)
	}
	names, err := s.names()
	if err != nil {
		return err
	}
	for _, old := range names[min(kept, len(names)):] {
		if err := os.Remove(filepath.Join(s.Dir, old)); err != nil {
			return fmt.Errorf("drop an old snapshot: %w", err)
		}
	}
	return nil
}

// names are the copies' files, the newest first.
func (s Shelf) names() ([]string, error) {
	files, err := os.ReadDir(s.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the snapshots: %w", err)
	}
	var names []string
	for _, f := range files {
		if strings.HasSuffix(f.Name(), suffix) && !strings.HasPrefix(f.Name(), ".") {
			names = append(names, f.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(b, a) })
	return names, nil
}

// Newest is the newest copy that can be read, nil if there is none. damaged names those that
// cannot.
func (s Shelf) Newest() (snap *Snapshot, damaged []string, err error) {
	names, err := s.names()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		snap, err := s.open(name)
		if err == nil {
			return snap, damaged, nil
		}
		damaged = append(damaged, fmt.Sprintf("%s (%v)", name, err))
	}
	return nil, damaged, nil
}

func (s Shelf) open(name string) (*Snapshot, error) {
	content, err := os.ReadFile(filepath.Join(s.Dir, name))
	if err != nil {
		return nil, err
	}
	if !identity.IsSealedFile(content) {
		return nil, identity.ErrSealed
	}
	data, err := identity.OpenFile(s.Key, content, use)
	if err != nil {
		return nil, err
	}
	return Unpack(data)
}

// seenFile says how far the stream has been seen, between two copies.
const seenFile = "seen"

// Saw notes how far the stream has been seen. It is not synced: what it guards against is a
// stream that lost what it had, not a machine that lost its power.
func (s Shelf) Saw(history string, seq uint64) error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(s.Dir, seenFile)
	if err := os.WriteFile(path+".new", fmt.Appendf(nil, "%s %d\n", history, seq), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Seen is how far the stream of a history has been seen; 0 if nobody remembers.
func (s Shelf) Seen(history string) uint64 {
	content, err := os.ReadFile(filepath.Join(s.Dir, seenFile))
	if err != nil {
		return 0
	}
	of, number, _ := strings.Cut(strings.TrimSpace(string(content)), " ")
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil || of != history {
		return 0 // torn, or of another life
	}
	return seq
}
