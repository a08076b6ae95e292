package bustest

import (
	"errors"
	"io/fs"
	"os"
	"testing"
)

// copyTries is how often a directory is copied again: a server, and one that has just ended, replaces files meanwhile.
const copyTries = 10

// Copy is a new directory with what is in dir at one moment.
func Copy(t testing.TB, dir string) string {
	t.Helper()
	for try := 1; ; try++ {
		to := t.TempDir()
		err := os.CopyFS(to, os.DirFS(dir))
		if err == nil {
			return to
		}
		if !errors.Is(err, fs.ErrNotExist) || try == copyTries {
			t.Fatal(err)
		}
	}
}
