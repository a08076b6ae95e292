package images

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"go.uber.org/goleak"

	"orch/internal/bus"
	"orch/internal/extra"
	"orch/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine is a node's, as much of it as images need.
type engine struct {
	*httptest.Server
	mu     sync.Mutex        // guards what follows
	images map[string]string // what `docker save` writes, by name and ID
	ids    map[string]string // by name
	loads  int
	refuse string
}

func newEngine(t *testing.T, images map[string]string) *engine {
	e := &engine{images: map[string]string{}, ids: map[string]string{}}
	for name, id := range images {
		e.put(name, id)
	}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *engine) put(name, id string) {
	e.images[name], e.images[id] = name+" "+id, name+" "+id
	e.ids[name], e.ids[id] = id, id
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.Header().Set("Api-Version", "1.41")
	path := r.URL.Path[strings.Index(r.URL.Path[1:], "/")+1:]
	switch {
	case strings.HasSuffix(path, "/get"):
		_, _ = io.WriteString(w, e.images[r.URL.Query().Get("names")])
	case path == "/images/load":
		body, _ := io.ReadAll(r.Body)
		if e.refuse != "" {
			_ = json.NewEncoder(w).Encode(map[string]string{"error": e.refuse})
			return
		}
		name, id, _ := strings.Cut(string(body), " ")
		e.put(name, id)
		e.loads++
	case strings.HasSuffix(path, "/json"):
		name := strings.TrimSuffix(strings.TrimPrefix(path, "/images/"), "/json")
		id, ok := e.ids[name]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(map[string]string{"message": "No such image: " + name})
			return
		}
		tags := []string{}
		for n, i := range e.ids {
			if i == id && n != id {
				tags = append(tags, n)
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Id": id, "RepoTags": tags, "Os": "linux", "Architecture": "amd64"})
	}
}

// cluster is nodes n1, n2 … with these engines, and a task on each that runs the image.
func cluster(t *testing.T, image, built string, engines ...*engine) *Carrier {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := store.New(store.NewMemLog())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	<-s.Ready()
	labels := map[string]string{}
	if err := extra.ToLabels(labels, extra.Extra{ImageID: built}); err != nil {
		t.Fatal(err)
	}
	err := s.Update(ctx, func(tx *store.Tx) error {
		for i := range engines {
			n := &store.Node{}
			n.ID = nodeName(i)
			n.Status.State = swarm.NodeStateReady
			n.Description.Platform = swarm.Platform{OS: "linux", Architecture: "x86_64"}
			tx.Put(n)
			task := &store.Task{}
			task.ID, task.NodeID = "task-of-"+n.ID, n.ID
			task.Spec.ContainerSpec = &swarm.ContainerSpec{Image: image, Labels: labels}
			tx.Put(task)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c := New(ctx, Config{View: s.View, Log: slog.New(slog.DiscardHandler), Dial: func(ctx context.Context, node string) (net.Conn, error) {
		for i, e := range engines {
			if nodeName(i) == node && e != nil {
				return new(net.Dialer).DialContext(ctx, "tcp", e.Listener.Addr().String())
			}
		}
		return nil, errors.New("the node does not answer")
	}})
	t.Cleanup(func() { cancel(); c.Wait(); running.Wait() })
	return c
}

func nodeName(i int) string { return "n" + string(rune('1'+i)) }

func TestABuildComesWithItsNameFromANodeThatHasIt(t *testing.T) {
	has, needs := newEngine(t, map[string]string{"app:latest": "sha256:new"}), newEngine(t, map[string]string{"app:latest": "sha256:old"})
	c := cluster(t, "app", "sha256:new", has, needs, nil)
	var asked sync.WaitGroup
	for range 5 { // tasks that start together share one transfer
		asked.Go(func() {
			r, err := c.Image(t.Context(), bus.ImageRequest{Node: "n2", Task: "task-of-n2"})
			if err != nil || !r.Here {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	asked.Wait()
	needs.mu.Lock()
	defer needs.mu.Unlock()
	if needs.ids["app:latest"] != "sha256:new" || needs.loads != 1 {
		t.Errorf("after %d loads the tag means %s", needs.loads, needs.ids["app:latest"])
	}
}

func TestWhatCannotBeHadIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		image, built string
		engines      []*engine
		want         string
	}{
		"nobody has it":     {"app:1", "", []*engine{newEngine(t, nil), newEngine(t, nil)}, "no other node has it either"},
		"another build":     {"app:1", "sha256:b", []*engine{newEngine(t, map[string]string{"app:1": "sha256:a"}), newEngine(t, nil)}, "no other node has it either"},
		"one node":          {"app:1", "", []*engine{newEngine(t, nil)}, ""},
		"the target's disk": {"app:1", "", []*engine{{refuse: "no space left on device"}, newEngine(t, map[string]string{"app:1": "sha256:a"})}, "it did not arrive from node n2: load it: no space left on device"},
	} {
		if e := c.engines[0]; e.Server == nil {
			full := newEngine(t, nil)
			full.refuse, c.engines[0] = e.refuse, full
		}
		r, err := cluster(t, c.image, c.built, c.engines...).Image(t.Context(), bus.ImageRequest{Node: "n1", Task: "task-of-n1"})
		if err != nil || r.Here || r.Coming || r.Why != c.want {
			t.Errorf("%s: %+v, %v; want %q", name, r, err, c.want)
		}
	}
}

// A node must not be able to read images that it is not to run.
func TestANodeGetsOnlyWhatItsTasksRun(t *testing.T) {
	c := cluster(t, "app:1", "", newEngine(t, map[string]string{"app:1": "sha256:a"}), newEngine(t, nil))
	if r, err := c.Image(t.Context(), bus.ImageRequest{Node: "n2", Task: "task-of-n1"}); err == nil {
		t.Errorf("got %+v for another node's task", r)
	}
}

func TestChoose(t *testing.T) {
	to := &store.Node{}
	to.ID, to.Description.Platform = "here", swarm.Platform{OS: "linux", Architecture: "x86_64"}
	at := func(node, id string, age time.Duration, arch string) offer {
		n := &store.Node{}
		n.ID = node
		return offer{node: n, id: id, created: time.Unix(1e9, 0).Add(-age), os: "linux", arch: arch}
	}
	for name, c := range map[string]struct {
		offers     []offer
		node, fail string
	}{
		"the newest":         {[]offer{at("a", "1", time.Hour, "amd64"), at("b", "2", 0, "amd64")}, "b", ""},
		"already here":       {[]offer{at("a", "2", 0, "amd64"), at("here", "1", time.Hour, "amd64")}, "here", ""},
		"the right platform": {[]offer{at("a", "2", 0, "arm64"), at("b", "1", time.Hour, "amd64")}, "b", ""},
		"only an alien":      {[]offer{at("a", "2", 0, "arm64")}, "", "node a has it for linux/arm64, and this node is linux/amd64"},
		"nobody":             {nil, "", "no other node has it"},
	} {
		got, err := choose(image{ref: "app"}, to, c.offers)
		switch {
		case c.fail != "":
			if err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || got.node.ID != c.node:
			t.Errorf("%s: %+v, %v", name, got.node, err)
		}
	}
}

func TestSaveAs(t *testing.T) {
	for _, c := range []struct {
		want image
		tags []string
		name string
	}{
		{image{ref: "app", id: "sha256:a"}, []string{"app:latest"}, "app:latest"},
		{image{ref: "docker.io/library/app:1"}, []string{"app:1"}, "app:1"},
		{image{ref: "app", id: "sha256:a"}, []string{"app:2"}, "sha256:a"},
		{image{ref: "r.example/app:1"}, nil, "r.example/app:1"},
	} {
		if got := saveAs(c.want, c.tags); got != c.name {
			t.Errorf("%+v of %v is saved as %s, want %s", c.want, c.tags, got, c.name)
		}
	}
}
