package daemon

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"orch/manager/api"
)

// pingTimeout bounds the question what the local dockerd is.
const pingTimeout = 2 * time.Second

// engineFacts is what the local dockerd said of itself when it was last asked.
type engineFacts struct {
	facts  atomic.Pointer[api.Engine]
	asking atomic.Bool
}

// engine is the local dockerd as orch answers for it.
func (d *Daemon) engine() api.Engine {
	if e := d.facts.facts.Load(); e != nil {
		return *e
	}
	return api.Engine{}
}

// askEngine asks dockerd what it is.
func (d *Daemon) askEngine(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	d.docker.NegotiateAPIVersion(ctx) // here, because the client's first calls must not do so at the same time
	v, err := d.docker.ServerVersion(ctx)
	if err != nil {
		d.log.Warn("the Docker Engine does not answer", "host", d.cfg.DockerHost, "error", err)
		return
	}
	h := http.Header{}
	h.Set("Server", fmt.Sprintf("Docker/%s (%s)", v.Version, v.Os))
	h.Set("Ostype", v.Os)
	h.Set("Docker-Experimental", strconv.FormatBool(v.Experimental))
	d.facts.facts.Store(&api.Engine{APIVersion: v.APIVersion, MinAPIVersion: v.MinAPIVersion, Header: h})
}

// heard compares what dockerd answered a ping with what it was: it may have been
// upgraded while orch runs, or not have run when orch started.
func (d *Daemon) heard(server string) {
	if server == "" || server == d.engine().Header.Get("Server") || d.facts.asking.Swap(true) {
		return
	}
	go func() {
		defer d.facts.asking.Store(false)
		d.askEngine(d.life)
	}()
}
