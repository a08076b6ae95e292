package logstream

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func writeFrame(b *bytes.Buffer, stream byte, text string) {
	head := [8]byte{stream}
	binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
	b.Write(head[:])
	b.WriteString(text)
}

func readAll(t *testing.T, stream []byte, tty bool) ([]Line, error) {
	t.Helper()
	lines := make(chan Line, 100)
	err := Read(t.Context(), bytes.NewReader(stream), tty, lines)
	close(lines)
	var out []Line
	for l := range lines {
		out = append(out, l)
	}
	return out, err
}

func TestReadSplitsFramesIntoLines(t *testing.T) {
	var b bytes.Buffer
	writeFrame(&b, 1, "2026-01-02T03:04:05Z com.docker.swarm.node.id=n,com.docker.swarm.task.id=t one two\n")
	writeFrame(&b, 2, "no time\n")
	writeFrame(&b, 1, "2026-01-02T03:04:05Z com.docker.swarm.task.id=t \n")
	got, err := readAll(t, b.Bytes(), false)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, l := range got {
		texts = append(texts, l.Task+"|"+l.Text)
	}
	if diff := cmp.Diff([]string{"t|one two", "|no time", "t|"}, texts); diff != "" {
		t.Error(diff)
	}
	if !got[1].Stderr || got[0].Stderr {
		t.Error("streams are mixed up")
	}
	writeFrame(&b, 3, "broken pipe at the worker")
	if _, err := readAll(t, b.Bytes(), false); err == nil || err.Error() != "broken pipe at the worker" {
		t.Errorf("an error within the stream came back as %v", err)
	}
}

// Whatever a stream holds, reading it ends without a crash and within the stream's size.
func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	writeFrame(&b, 1, "2026-01-02T03:04:05Z com.docker.swarm.task.id=t%20 one\n")
	f.Add(b.Bytes(), false)
	f.Add([]byte("2026-01-02T03:04:05Z a=b tty\r\n"), true)
	f.Fuzz(func(t *testing.T, stream []byte, tty bool) {
		lines := make(chan Line)
		done := make(chan int)
		go func() {
			n := 0
			for l := range lines {
				n += len(l.Text)
			}
			done <- n
		}()
		_ = Read(t.Context(), bytes.NewReader(stream), tty, lines)
		close(lines)
		if n := <-done; n > len(stream) {
			t.Errorf("%d bytes of text from a stream of %d", n, len(stream))
		}
	})
}
