package files

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestStore(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	dir := filepath.Join(t.TempDir(), "secrets")
	s := New(dir)
	mounts, err := s.Put("t1", []File{{Target: "/run/secrets/a", Data: []byte("hush"), UID: 7, GID: 8, Mode: 0o440}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("the directory is left: %v", err)
		}
	})
	if len(mounts) != 1 || mounts[0].Target != "/run/secrets/a" || !mounts[0].ReadOnly {
		t.Fatalf("mounts %+v", mounts)
	}
	info, err := os.Stat(mounts[0].Source)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); info.Mode() != 0o440 || owner.Uid != 7 || owner.Gid != 8 {
		t.Errorf("mode %v, owner %d:%d", info.Mode(), owner.Uid, owner.Gid)
	}
	if top, err := os.Stat(dir); err != nil || top.Mode().Perm() != 0o700 || !isTmpfs(dir) {
		t.Errorf("directory %v %v, tmpfs %v", top, err, isTmpfs(dir))
	}

	again := New(dir) // another process finds what is mounted
	if !again.Whole("t1", 1) || again.Whole("t1", 2) || again.Whole("t2", 1) {
		t.Error("what is whole is not told")
	}
	if _, err := again.Put("t2", []File{{Target: "/x"}}); err != nil {
		t.Fatal(err)
	}
	if err := again.Keep(func(id string) bool { return id == "t2" }); err != nil {
		t.Fatal(err)
	}
	if again.Whole("t1", 1) || !again.Whole("t2", 1) {
		t.Error("Keep kept the wrong ones")
	}
	if err := again.Remove("t2"); err != nil || again.Whole("t2", 1) {
		t.Errorf("remove: %v", err)
	}
}
