package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/singleflight"

	"orch/worker/engine"
)

// Swarm pulls before every start and falls back to what is there. So does the agent, and then to what another node has
// (peers.go). There are three exceptions that keep Swarm's promise (a tag that moved is noticed) without its price:
//
//   - an image that was built or loaded here is not in a registry; asking one for it would at best cost time, and at
//     worst run what a stranger has put there under that name;
//   - tasks that start together share one pull, and for pullFresh after it;
//   - a registry that did not answer is not waited for again until registryPause has gone by, and never longer than
//     pullPatience when the image is there.
const (
	pullFresh = 10 * time.Second
	// lookFresh is for how long tasks that start together share one look at an image that is here.
	lookFresh     = time.Second
	pullPatience  = 3 * time.Second
	registryPause = time.Minute
	// pullLimit bounds a pull that is waited for because the image is not there.
	pullLimit = 30 * time.Minute
)

// Policies of a compose file; the empty one is Swarm's.
const (
	pullAlways  = "always"
	pullNever   = "never"
	pullMissing = "missing"
	pullAbsent  = "if_not_present"
	pullBuild   = "build"
	pullRefresh = "refresh"
)

// want is an image that a task needs.
type want struct {
	ref, auth string
	policy    string
	after     time.Duration // the age at which the refresh policy pulls
}

// images brings images to the node.
type images struct {
	engine engine.Engine
	peers  peers
	log    *slog.Logger
	pulls  singleflight.Group

	mu     sync.Mutex // guards what follows
	pulled map[string]time.Time
	seen   map[want]time.Time   // images that were here and need no pull
	silent map[string]time.Time // registries that did not answer, and when
}

func newImages(e engine.Engine, p peers, log *slog.Logger) *images {
	return &images{engine: e, peers: p, log: log, pulled: map[string]time.Time{}, seen: map[want]time.Time{}, silent: map[string]time.Time{}}
}

// how says what to do about an image: whether to pull, and whether the task may start without.
type how struct{ pull, optional bool }

// decide is the rule. It is pure: there is whether the image is local, now the time.
func decide(w want, local engine.Image, there bool, now time.Time) how {
	switch w.policy {
	case pullAlways:
		return how{pull: true}
	case pullNever:
		return how{}
	case pullMissing, pullAbsent, pullBuild:
		return how{pull: !there}
	case pullRefresh:
		return how{pull: !there || now.Sub(local.Tagged) > w.after, optional: there}
	}
	if !there {
		return how{pull: true}
	}
	return how{pull: local.Pulled && !pinned(w.ref), optional: true}
}

// pinned says that a name can only ever mean one image.
func pinned(ref string) bool {
	if _, err := digest.Parse(ref); err == nil {
		return true
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return false
	}
	_, ok := named.(reference.Canonical)
	return ok
}

// choose brings an image here and returns what to call it. A task of an earlier build runs that build, as long as some node
// has it: its tag has moved on, and a rollback that started the image it is to get rid of would be none.
func (i *images) choose(ctx context.Context, task, built string, w want) (string, error) {
	if w.policy == pullAlways || w.policy == pullRefresh {
		return w.ref, i.ensure(ctx, w)
	}
	why := ""
	if built != "" {
		name := i.build(ctx, built, w.ref)
		if name == "" && w.policy != pullNever {
			why = i.fetch(ctx, task)
			name = i.build(ctx, built, w.ref)
		}
		if name != "" {
			return name, nil
		}
	}
	err := i.ensure(ctx, w)
	if err == nil || w.policy == pullNever || ctx.Err() != nil || i.here(ctx, w.ref) {
		return w.ref, err
	}
	if built == "" {
		if why = i.fetch(ctx, task); i.here(ctx, w.ref) {
			return w.ref, nil
		}
	}
	if why != "" {
		err = fmt.Errorf("%w; %s", err, why)
	}
	return w.ref, err
}

// build is what a build is called here, "" if it is not here.
func (i *images) build(ctx context.Context, id, ref string) string {
	if tagged, err := i.engine.Image(ctx, ref); err == nil && tagged.ID == id {
		return ref
	}
	if i.here(ctx, id) {
		return id
	}
	return ""
}

func (i *images) here(ctx context.Context, ref string) bool {
	_, err := i.engine.Image(ctx, ref)
	return err == nil
}

// ensure brings an image here as its policy has it.
func (i *images) ensure(ctx context.Context, w want) error {
	if i.looked(w) {
		return nil
	}
	local, err := i.engine.Image(ctx, w.ref)
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return err
	}
	there := err == nil
	h := decide(w, local, there, time.Now())
	if !h.pull {
		if there {
			i.see(w)
		}
		return err // that it is not there, or nothing
	}
	if h.optional && i.recent(w.ref) {
		return nil
	}
	patience := pullLimit
	if h.optional {
		patience = pullPatience
	}
	err = i.pull(ctx, w, patience)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case h.optional:
		i.log.Warn("the image was not pulled; its local copy is used", "image", w.ref, "err", err)
		return nil
	case there || errors.Is(err, engine.ErrUnavailable):
		return fmt.Errorf("pull %s: %w", w.ref, err)
	}
	//lint:ignore ST1005 begins with Swarm's text
	return fmt.Errorf("No such image: %s (%w)", w.ref, err)
}

// looked says that an image has just been here and in need of nothing.
func (i *images) looked(w want) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return time.Since(i.seen[w]) < lookFresh
}

// see notes an image that needs nothing, and forgets those of long ago.
func (i *images) see(w want) {
	i.mu.Lock()
	defer i.mu.Unlock()
	maps.DeleteFunc(i.seen, func(_ want, at time.Time) bool { return time.Since(at) >= lookFresh })
	i.seen[w] = time.Now()
}

// recent says that an image has just been pulled, or that its registry has just not answered.
func (i *images) recent(ref string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return time.Since(i.pulled[ref]) < pullFresh || time.Since(i.silent[registry(ref)]) < registryPause
}

// pull waits for a pull. It goes on when nobody waits any more: the next task will be glad of it.
func (i *images) pull(ctx context.Context, w want, patience time.Duration) error {
	done := i.pulls.DoChan(w.ref+"\x00"+w.auth, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pullLimit)
		defer cancel()
		err := i.engine.Pull(ctx, w.ref, w.auth)
		i.note(w.ref, err)
		return nil, err
	})
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.Err
	case <-timer.C:
		i.note(w.ref, errSlow)
		return errSlow
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errSlow = errors.New("the registry does not answer in time")

// note remembers what a pull has shown of an image and its registry.
func (i *images) note(ref string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case err == nil:
		i.pulled[ref] = time.Now()
		delete(i.silent, registry(ref))
	case unreachable(err):
		i.silent[registry(ref)] = time.Now()
	}
}

// unreachable tells a registry that cannot be reached from one that refuses. dockerd hands on only the text.
func unreachable(err error) bool {
	if errors.Is(err, errSlow) {
		return true
	}
	for _, sign := range []string{"dial tcp", "no such host", "i/o timeout", "Client.Timeout", "connection refused", "request canceled while waiting"} {
		if strings.Contains(err.Error(), sign) {
			return true
		}
	}
	return false
}

func registry(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.Domain(named)
}
