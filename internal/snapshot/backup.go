package snapshot

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"orch/internal/identity"
)

// Backup is everything that a machine needs to become the manager of a cluster again: it opens
// every secret of the cluster, and exists in the clear only in memory.
type Backup struct {
	// Membership is the manager's node.json, CA whom it trusts, Node its certificate and key in PEM.
	Membership json.RawMessage
	CA, Node   []byte
	// Seal is the key that secrets are sealed with.
	Seal  []byte
	State []byte // a packed Snapshot
}

// How the key of a backup is found.
const (
	byPassphrase = "passphrase"
	byUnlockKey  = "unlock key"
)

// header is a backup's first line, in the clear; it cannot be changed without the rest becoming unreadable.
type header struct {
	Orch    string // "backup"
	Version int
	Cluster string
	Taken   time.Time
	Sealed  string
	Salt    []byte `json:",omitempty"`
}

const (
	backupVersion = 1
	saltSize      = 16
)

// ErrPassphrase says that a backup does not open: it was sealed with something else, or altered.
var ErrPassphrase = errors.New("the backup does not open: another passphrase or unlock key, or it was altered")

// Sealed is the backup as a file. phrase is a passphrase, or an unlock key in its form.
func (b *Backup) Sealed(cluster, phrase string, now time.Time) ([]byte, error) {
	h := header{Orch: "backup", Version: backupVersion, Cluster: cluster, Taken: now.UTC(), Sealed: byPassphrase}
	key, err := identity.ParseUnlockKey(phrase)
	if err == nil {
		h.Sealed = byUnlockKey
	} else {
		h.Salt = make([]byte, saltSize)
		rand.Read(h.Salt)
		key = identity.PassphraseKey(phrase, h.Salt)
	}
	line, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("write a backup: %w", err)
	}
	return bytes.Join([][]byte{line, identity.Seal(key, data, string(line))}, []byte("\n")), nil
}

// OpenBackup reads what Sealed made.
func OpenBackup(file []byte, phrase string) (*Backup, error) {
	line, sealed, found := bytes.Cut(file, []byte("\n"))
	var h header
	if err := json.Unmarshal(line, &h); !found || err != nil || h.Orch != "backup" {
		return nil, errors.New("this is no backup of orch")
	}
	if h.Version != backupVersion {
		return nil, fmt.Errorf("the backup is of version %d, and this orch reads %d: restore it with the orch that made it", h.Version, backupVersion)
	}
	var key identity.Key
	var err error
	switch h.Sealed {
	case byUnlockKey:
		if key, err = identity.ParseUnlockKey(phrase); err != nil {
			return nil, fmt.Errorf("the backup was sealed with the unlock key: %w", err)
		}
	case byPassphrase:
		key = identity.PassphraseKey(phrase, h.Salt)
	default:
		return nil, ErrPassphrase
	}
	data, err := identity.Open(key, sealed, string(line))
	if err != nil {
		return nil, ErrPassphrase
	}
	b := &Backup{}
	if err := json.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	return b, nil
}
