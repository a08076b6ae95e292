package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"

	"orch/internal/usage"
)

const (
	taskLabel = "com.docker.swarm.task.id"
	// measuring is how many containers are asked for at a time: the engine serves others meanwhile.
	measuring = 8
	// tick is what /proc/stat counts in, on every Linux that Go runs on.
	tick = 10 * time.Millisecond
)

// serveUsage streams measurements until the client has gone. tasks=false leaves the tasks out: the machine alone costs next to nothing.
func (d *Daemon) serveUsage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out, again := json.NewEncoder(w), time.NewTicker(usage.Every)
	defer again.Stop()
	for {
		s := usage.Sample{At: time.Now(), Node: wholeMachine("/proc")}
		if r.URL.Query().Get("tasks") != "false" {
			s.Tasks = measure(r.Context(), d.docker)
		}
		if out.Encode(s) != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-again.C:
		case <-r.Context().Done():
			return
		}
	}
}

// measure is the usage of the node's tasks now. What cannot be read is left out: a container may be going.
func measure(ctx context.Context, docker *client.Client) map[string]usage.Counters {
	ctx, cancel := context.WithTimeout(ctx, 2*usage.Every)
	defer cancel()
	tasks := map[string]usage.Counters{}
	list, err := docker.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(filters.Arg("label", taskLabel))})
	if err != nil {
		return tasks
	}
	var mu sync.Mutex // guards tasks
	var group errgroup.Group
	group.SetLimit(measuring)
	for _, c := range list {
		group.Go(func() error {
			got, err := docker.ContainerStatsOneShot(ctx, c.ID)
			if err != nil {
				return nil
			}
			defer got.Body.Close()
			var stats container.StatsResponse
			if json.NewDecoder(got.Body).Decode(&stats) == nil {
				mu.Lock()
				defer mu.Unlock()
				tasks[c.Labels[taskLabel]] = usage.OfContainer(stats)
			}
			return nil
		})
	}
	_ = group.Wait()
	return tasks
}

// wholeMachine reads what the kernel says of the whole machine.
func wholeMachine(proc string) usage.Counters {
	var c usage.Counters
	eachLine(proc+"/stat", func(f []string) {
		if f[0] != "cpu" {
			return
		}
		for i, v := range f[1:min(len(f), 9)] { // guests are counted among users
			if i != 3 && i != 4 { // idle, and waiting for disks
				c.CPU += number(v) * uint64(tick)
			}
		}
	})
	eachLine(proc+"/meminfo", func(f []string) {
		switch {
		case len(f) < 2:
		case f[0] == "MemTotal:":
			c.Limit = number(f[1]) << 10
		case f[0] == "MemAvailable:":
			c.Memory = c.Limit - min(c.Limit, number(f[1])<<10)
		}
	})
	eachLine(proc+"/net/dev", func(f []string) {
		// Bridges and the ends of containers' links show the same bytes again.
		name := strings.TrimSuffix(f[0], ":")
		if len(f) < 10 || name == "lo" || strings.HasPrefix(name, "veth") || strings.HasPrefix(name, "br") || strings.HasPrefix(name, "docker") || strings.HasPrefix(name, "vx") {
			return
		}
		c.In += number(f[1])
		c.Out += number(f[9])
	})
	return c
}

func eachLine(path string, do func(fields []string)) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 0 {
			do(fields)
		}
	}
}

func number(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64) // a word is no number and counts nothing
	return n
}
