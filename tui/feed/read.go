package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/volume"
	"golang.org/x/sync/errgroup"

	"orch/compose"
)

// Fetch reads the whole cluster once.
func Fetch(ctx context.Context, e Endpoint) (State, error) {
	w := &watcher{publish: func(State) {}}
	w.state.Endpoint = e.Host
	if err := w.readAll(ctx, e.API); err != nil {
		return State{}, err
	}
	if err := w.readRest(ctx, e.API); err != nil {
		return State{}, err
	}
	w.show()
	return w.state, nil
}

// readAll reads what every view needs: nodes, services and tasks. The first time it shows what there is before the tasks: ten thousand
// of them take a while.
func (w *watcher) readAll(ctx context.Context, c Client) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var services []swarm.Service
	var tasks []swarm.Task
	reading, rctx := errgroup.WithContext(ctx)
	reading.Go(func() (err error) {
		tasks, err = c.TaskList(rctx, swarm.TaskListOptions{})
		return named("list tasks", err)
	})
	quick, qctx := errgroup.WithContext(rctx)
	quick.Go(func() error { return named("list nodes", reads[events.NodeEventType](qctx, c, &w.state)) })
	quick.Go(func() (err error) {
		services, err = c.ServiceList(qctx, swarm.ServiceListOptions{})
		return named("list services", err)
	})
	if err := quick.Wait(); err != nil {
		cancel()
		return errors.Join(err, ignore(reading.Wait()))
	}
	if w.tasks == nil {
		w.take(services, nil)
		w.state.Loading = true
		w.show()
		w.state.Loading = false
	}
	if err := reading.Wait(); err != nil {
		return err
	}
	w.take(services, tasks)
	return nil
}

// ignore drops the error of a call that was given up: why it was says all.
func ignore(error) error { return nil }

// take puts what was read in the place of what there was.
func (w *watcher) take(services []swarm.Service, tasks []swarm.Task) {
	w.services, w.strings = map[string]*swarm.Service{}, map[string]string{}
	for i := range services {
		w.services[services[i].ID] = &services[i]
	}
	had := w.tasks
	w.tasks = make(map[string]*Task, len(tasks))
	for _, t := range tasks {
		w.keep(had[t.ID], slim(t, w.intern))
	}
}

// Make is a state of what is given, as if it had been read.
func Make(nodes []swarm.Node, services []swarm.Service, tasks []swarm.Task) State {
	w := &watcher{publish: func(State) {}}
	w.state.Nodes = nodes
	w.take(services, tasks)
	w.show()
	return w.state
}

// keep takes a task in, under the name that it had.
func (w *watcher) keep(before, t *Task) {
	if before != nil && before.ServiceID == t.ServiceID && before.NodeID == t.NodeID {
		t.service, t.Host, t.Name = before.service, before.Host, before.Name
	}
	w.tasks[t.ID] = t
}

func named(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// reads are the lists that an event of a type makes old.
var reads = map[events.Type]func(context.Context, Client, *State) error{
	events.NodeEventType: func(ctx context.Context, c Client, s *State) error {
		nodes, err := c.NodeList(ctx, swarm.NodeListOptions{})
		if err != nil {
			return err
		}
		slices.SortFunc(nodes, func(a, b swarm.Node) int {
			return strings.Compare(a.Description.Hostname+a.ID, b.Description.Hostname+b.ID)
		})
		s.Nodes = nodes
		return nil
	},
	events.NetworkEventType: func(ctx context.Context, c Client, s *State) (err error) {
		s.Networks, err = c.NetworkList(ctx, network.ListOptions{})
		slices.SortFunc(s.Networks, func(a, b network.Summary) int { return strings.Compare(a.Name, b.Name) })
		return err
	},
	events.SecretEventType: func(ctx context.Context, c Client, s *State) (err error) {
		s.Secrets, err = c.SecretList(ctx, swarm.SecretListOptions{})
		slices.SortFunc(s.Secrets, func(a, b swarm.Secret) int { return strings.Compare(a.Spec.Name, b.Spec.Name) })
		return err
	},
	events.ConfigEventType: readConfigs,
	events.VolumeEventType: func(ctx context.Context, c Client, s *State) error {
		list, err := c.VolumeList(ctx, volume.ListOptions{})
		if err != nil {
			return err
		}
		s.Volumes = list.Volumes
		slices.SortFunc(s.Volumes, func(a, b *volume.Volume) int { return strings.Compare(a.Name, b.Name) })
		return nil
	},
	events.ImageEventType: func(ctx context.Context, c Client, s *State) (err error) {
		s.Images, err = c.ImageList(ctx, image.ListOptions{})
		return err
	},
}

// readConfigs reads the configs, lets go of their content, and finds the stacks' history among them.
func readConfigs(ctx context.Context, c Client, s *State) error {
	list, err := c.ConfigList(ctx, swarm.ConfigListOptions{})
	if err != nil {
		return err
	}
	s.Configs, s.History = nil, nil
	stacks := map[string][]swarm.Config{}
	for _, v := range list {
		v.Spec.Data = nil
		if compose.IsRevision(v) {
			stack := v.Spec.Labels[StackLabel]
			stacks[stack] = append(stacks[stack], v)
			continue
		}
		s.Configs = append(s.Configs, v)
	}
	for stack, list := range stacks {
		s.History = append(s.History, compose.Revisions(stack, list)...)
	}
	slices.SortFunc(s.Configs, func(a, b swarm.Config) int { return strings.Compare(a.Spec.Name, b.Spec.Name) })
	slices.SortFunc(s.History, func(a, b compose.Revision) int { return b.Created.Compare(a.Created) })
	return nil
}

// readRest reads what only some views need, and what the API is. An engine without one of these lists is shown without it.
func (w *watcher) readRest(ctx context.Context, c Client) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	v, err := c.ServerVersion(ctx)
	if err != nil {
		return named("ask for the version", err)
	}
	w.state.Orch = false
	for _, p := range v.Components {
		w.state.Orch = w.state.Orch || p.Name == "orch"
	}
	info, err := c.Info(ctx)
	if err != nil {
		return named("ask for the node", err)
	}
	w.state.Self = info.Swarm.NodeID
	for kind, read := range reads {
		if kind != events.NodeEventType {
			if err := read(ctx, c, &w.state); err != nil && ctx.Err() != nil {
				return named(fmt.Sprintf("list %ss", kind), err)
			}
		}
	}
	return nil
}

// readServices reads single services again.
func (w *watcher) readServices(ctx context.Context, c Client, ids []string) error {
	for _, id := range ids {
		delete(w.services, id)
	}
	list, err := c.ServiceList(ctx, swarm.ServiceListOptions{Filters: byID(ids)})
	if err != nil {
		return named("list services", err)
	}
	for i := range list {
		w.services[list[i].ID] = &list[i]
	}
	return nil
}

// readTasks reads single tasks again.
func (w *watcher) readTasks(ctx context.Context, c Client, ids []string) error {
	list, err := c.TaskList(ctx, swarm.TaskListOptions{Filters: byID(ids)})
	if err != nil {
		return named("list tasks", err)
	}
	had := make(map[string]*Task, len(ids))
	for _, id := range ids {
		had[id] = w.tasks[id]
		delete(w.tasks, id)
	}
	for _, t := range list {
		w.keep(had[t.ID], slim(t, w.intern))
	}
	return nil
}

func byID(ids []string) filters.Args {
	f := filters.NewArgs()
	for _, id := range ids {
		f.Add("id", id)
	}
	return f
}

var errNoEndpoint = errors.New("no API to talk to")
