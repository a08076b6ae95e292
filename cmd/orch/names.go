package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
)

// stackLabel marks what belongs to a stack, as docker stack deploy does.
const stackLabel = "com.docker.stack.namespace"

// names turns IDs into what people call things.
type names struct {
	services map[string]swarm.Service
	nodes    map[string]string
}

// readNames asks for all services and nodes; both lists are small beside tasks.
func readNames(ctx context.Context, cli *client.Client) (names, error) {
	n := names{services: map[string]swarm.Service{}, nodes: map[string]string{}}
	services, err := cli.ServiceList(ctx, swarm.ServiceListOptions{})
	if err != nil {
		return n, err
	}
	for _, s := range services {
		n.services[s.ID] = s
	}
	nodes, err := cli.NodeList(ctx, swarm.NodeListOptions{})
	if err != nil {
		return n, err
	}
	for _, d := range nodes {
		n.nodes[d.ID] = d.Description.Hostname
	}
	return n, nil
}

func (n names) service(id string) string {
	if s, ok := n.services[id]; ok {
		return s.Spec.Name
	}
	return id
}

func (n names) node(id string) string { return cmp.Or(n.nodes[id], id) }

// task is a task's name without its ID: web.2, or agent.host1 for a service that has one per node.
func (n names) task(t swarm.Task) string {
	if t.Slot == 0 {
		return n.service(t.ServiceID) + "." + n.node(t.NodeID)
	}
	return n.service(t.ServiceID) + "." + strconv.Itoa(t.Slot)
}

// selected are the services that an argument stands for: one by name or ID, or a whole stack.
type selected struct {
	services []swarm.Service
	all      bool // no choice was made
}

// pick finds what ref means; a service wins over a stack of the same name. "" is everything.
func (n names) pick(ref string) (selected, error) {
	if s, err := n.find(ref); err == nil {
		return selected{services: []swarm.Service{s}}, nil
	}
	var found []swarm.Service
	for _, s := range n.services {
		if ref == "" || s.Spec.Labels[stackLabel] == ref {
			found = append(found, s)
		}
	}
	if len(found) == 0 && ref != "" {
		return selected{}, fmt.Errorf("no stack or service %q: `orch ls` and `orch services` show what there is", ref)
	}
	sortServices(found)
	return selected{services: found, all: ref == ""}, nil
}

// find is one service: by ID, by name, by the only ID that begins so.
func (n names) find(ref string) (swarm.Service, error) {
	if s, ok := n.services[ref]; ok {
		return s, nil
	}
	var byPrefix []swarm.Service
	for _, s := range n.services {
		if s.Spec.Name == ref {
			return s, nil
		}
		if ref != "" && strings.HasPrefix(s.ID, ref) {
			byPrefix = append(byPrefix, s)
		}
	}
	if len(byPrefix) == 1 {
		return byPrefix[0], nil
	}
	if len(byPrefix) > 1 {
		return swarm.Service{}, fmt.Errorf("%q is the beginning of %d services' IDs: write more of it", ref, len(byPrefix))
	}
	return swarm.Service{}, fmt.Errorf("no service %q: `orch services` shows what there is", ref)
}

// findTask is SERVICE, SERVICE.SLOT or SERVICE.NODE, split where a service has that name; slot is "" for the first form.
func (n names) findTask(ref string) (s swarm.Service, slot string, err error) {
	if s, err = n.find(ref); err == nil {
		return s, "", nil
	}
	if i := strings.LastIndexByte(ref, '.'); i > 0 {
		if s, err2 := n.find(ref[:i]); err2 == nil {
			return s, ref[i+1:], nil
		}
	}
	return s, "", err
}

// inSlot says whether a task is the one that findTask's slot names.
func (n names) inSlot(t swarm.Task, slot string) bool {
	return slot == "" || strconv.Itoa(t.Slot) == slot && t.Slot > 0 || n.node(t.NodeID) == slot || t.NodeID == slot
}

func sortServices(list []swarm.Service) {
	slices.SortFunc(list, func(a, b swarm.Service) int { return strings.Compare(a.Spec.Name, b.Spec.Name) })
}

// tasksOf asks for the tasks of services.
func tasksOf(ctx context.Context, cli *client.Client, s selected) ([]swarm.Task, error) {
	if s.all {
		return cli.TaskList(ctx, swarm.TaskListOptions{})
	}
	f := filters.NewArgs()
	for _, service := range s.services {
		f.Add("service", service.ID)
	}
	return cli.TaskList(ctx, swarm.TaskListOptions{Filters: f})
}
