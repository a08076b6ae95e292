package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/identity"
	"orch/internal/store"
	"orch/manager/allocator"
)

// bridgeLabel marks the local bridges that carry a network of the cluster: they
// are shown as that network, not as themselves.
const bridgeLabel = "orch.network.id"

// serialOption is what Swarm adds to the options of a network's address management.
const serialOption = "com.docker.network.ipam.serial"

func (a *API) networkRoutes() []route {
	return []route{
		{"GET", "/networks", a.listNetworks},
		{"POST", "/networks/create", a.createNetwork},
		{"POST", "/networks/prune", a.pruneNetworks},
		{"GET", "/networks/{id}", a.inspectNetwork},
		{"DELETE", "/networks/{id}", a.removeNetwork},
	}
}

func (a *API) listNetworks(w http.ResponseWriter, r *http.Request) error {
	args, err := filtersOf(r, "dangling", "driver", "id", "label", "name", "scope", "type")
	if err != nil {
		return err
	}
	local := ask(a.Through, r)
	if local.status != http.StatusOK {
		local.copy(w)
		return nil
	}
	var all []json.RawMessage
	if err := json.Unmarshal(local.body.Bytes(), &all); err != nil {
		return fmt.Errorf("read dockerd's networks: %w", err)
	}
	list := slices.DeleteFunc(all, carries)
	v := a.Store.View()
	for _, n := range v.Networks(store.All()) {
		if !networkMatches(v, n, args) {
			continue
		}
		body, err := json.Marshal(inspected(n))
		if err != nil {
			return fmt.Errorf("encode network %s: %w", n.ID, err)
		}
		list = append(list, body)
	}
	if list == nil {
		list = []json.RawMessage{}
	}
	return show(w, r, list)
}

func carries(local json.RawMessage) bool {
	var n struct{ Labels map[string]string }
	return json.Unmarshal(local, &n) == nil && n.Labels[bridgeLabel] != ""
}

func networkMatches(v *store.View, n *store.Network, args filters.Args) bool {
	if !allocator.Managed(n) {
		return false // dockerd lists its own
	}
	if args.Contains("dangling") {
		want, err := args.GetBoolOrDefault("dangling", false)
		if err != nil || want != (userOf(v, n) == nil) {
			return false
		}
	}
	return args.Match("name", n.Spec.Name) && args.Match("id", n.ID) && oneOf(args, "driver", "overlay") && oneOf(args, "scope", "swarm") &&
		oneOf(args, "type", "custom") && labelled(args, "label", n.Spec.Labels)
}

// inspected is a network of the cluster as dockerd shows one.
func inspected(n *store.Network) network.Inspect {
	i := network.Inspect{
		Name: n.Spec.Name, ID: n.ID, Created: n.CreatedAt, Scope: "swarm", Driver: "overlay", EnableIPv4: true, EnableIPv6: n.Spec.IPv6Enabled,
		IPAM: network.IPAM{Driver: "default"}, Internal: n.Spec.Internal, Attachable: n.Spec.Attachable, Ingress: n.Spec.Ingress,
		Options: n.DriverState.Options, Labels: n.Spec.Labels,
	}
	if len(i.Labels) == 0 {
		i.Labels = nil
	}
	if !allocator.Managed(n) {
		i.Driver, i.IPAM = n.Spec.Name, network.IPAM{Config: []network.IPAMConfig{}}
		return i
	}
	if o := n.Spec.IPAMOptions; o != nil && len(o.Driver.Options) > 0 {
		i.IPAM.Options = maps.Clone(o.Driver.Options)
		i.IPAM.Options[serialOption] = "true"
	}
	if n.IPAMOptions == nil {
		return i
	}
	for _, c := range n.IPAMOptions.Configs {
		i.IPAM.Config = append(i.IPAM.Config, network.IPAMConfig{Subnet: c.Subnet, IPRange: c.Range, Gateway: c.Gateway})
	}
	return i
}

func (a *API) inspectNetwork(w http.ResponseWriter, r *http.Request) error {
	if _, err := strictFlag(r, "verbose"); err != nil {
		return err
	}
	n, err := findNetwork(a.Store.View(), id(r))
	scope := r.URL.Query().Get("scope")
	// A predefined network is the engine's by name, and the cluster's by the ID that services refer to, or
	// where the cluster's are asked for.
	if errdefs.IsNotFound(err) || err == nil && (!allocator.Managed(n) && n.ID != id(r) && scope != "swarm" || scope != "" && scope != "swarm") {
		a.Through.ServeHTTP(w, r)
		return nil
	}
	if err != nil {
		return err
	}
	i := inspected(n)
	if i.Ingress { // which every node has, and so shows as its own
		i.Labels = orEmpty(i.Labels)
	}
	i.Containers = a.containersOn(r, n)
	return show(w, r, i)
}

// containersOn are those of this node, as Swarm shows them: the bridge that carries the network knows.
func (a *API) containersOn(r *http.Request, n *store.Network) map[string]network.EndpointResource {
	there := r.Clone(r.Context())
	there.Method, there.Body, there.ContentLength = http.MethodGet, http.NoBody, 0
	there.URL = &url.URL{Path: "/networks/" + n.Spec.Name, RawPath: "/networks/" + url.PathEscape(n.Spec.Name)}
	local := ask(a.Through, there)
	var i network.Inspect
	if local.status != http.StatusOK || json.Unmarshal(local.body.Bytes(), &i) != nil || i.Labels[bridgeLabel] != n.ID {
		return nil // the network is not on this node
	}
	return i.Containers
}

func (a *API) createNetwork(w http.ResponseWriter, r *http.Request) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return invalid("read the request: %v", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	var req network.CreateRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	if req.Driver != "overlay" {
		r.Body = io.NopCloser(bytes.NewReader(raw))
		a.Through.ServeHTTP(w, r)
		return nil
	}
	for _, c := range ipamConfigs(req) {
		if _, _, err := net.ParseCIDR(c.Subnet); err != nil {
			return invalid("Invalid subnet %s : %v", c.Subnet, err).before(v23, "Invalid subnet %s : %v", c.Subnet, err).once(errdefs.ErrUnknown)
		}
	}
	n := &store.Network{}
	n.ID, n.Spec = identity.NewID(), networkSpec(req)
	err = a.Store.Update(r.Context(), func(tx *store.Tx) error {
		if err := checkNetwork(&tx.View, &n.Spec); err != nil {
			return err
		}
		next := *n
		tx.Put(&next)
		return nil
	})
	if err != nil {
		return err
	}
	a.awaitSubnet(r.Context(), n.ID)
	return encode(w, http.StatusCreated, network.CreateResponse{ID: n.ID})
}

// subnetTimeout bounds how long a new network's subnet is waited for; it is there
// anyway.
const subnetTimeout = time.Second

// awaitSubnet waits until the leader has given a network its subnet: a client that
// looks at it next sees it, as with Swarm.
func (a *API) awaitSubnet(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, subnetTimeout)
	defer cancel()
	watch, v := a.Store.Watch(store.KindNetwork)
	defer watch.Close()
	for {
		if n := v.Network(id); n == nil || n.DriverState.Name != "" {
			return
		}
		select {
		case <-watch.C():
			watch.Take()
			v = a.Store.View()
		case <-ctx.Done():
			return
		}
	}
}

func ipamConfigs(req network.CreateRequest) []network.IPAMConfig {
	if req.IPAM == nil {
		return nil
	}
	return req.IPAM.Config
}

func networkSpec(req network.CreateRequest) swarm.NetworkSpec {
	spec := swarm.NetworkSpec{
		Annotations:         swarm.Annotations{Name: req.Name, Labels: req.Labels},
		DriverConfiguration: &swarm.Driver{Name: req.Driver, Options: req.Options},
		IPv6Enabled:         req.EnableIPv6 != nil && *req.EnableIPv6,
		Internal:            req.Internal, Attachable: req.Attachable, Ingress: req.Ingress, Scope: "swarm",
	}
	if req.IPAM != nil {
		spec.IPAMOptions = &swarm.IPAMOptions{Driver: swarm.Driver{Name: req.IPAM.Driver, Options: req.IPAM.Options}}
		for _, c := range req.IPAM.Config {
			spec.IPAMOptions.Configs = append(spec.IPAMOptions.Configs, swarm.IPAMConfig{Subnet: c.Subnet, Range: c.IPRange, Gateway: c.Gateway})
		}
	}
	return spec
}

func checkNetwork(v *store.View, spec *swarm.NetworkSpec) error {
	switch spec.Name {
	case "":
		return refuse(errdefs.ErrUnknown, "invalid name: ")
	case "none", "default":
		return refuse(errdefs.ErrPermissionDenied, "operation is not permitted on predefined %s network ", spec.Name)
	}
	if len(v.Networks(store.Name(spec.Name))) > 0 {
		return refuse(errdefs.ErrConflict, "network with name %s already exists", spec.Name)
	}
	if err := checkAnnotations(spec.Annotations); err != nil {
		return err
	}
	if spec.Ingress {
		if spec.Attachable {
			return badSpec("ingress network cannot be attachable")
		}
		if have := allocator.Ingress(v); have != nil {
			return remote(errdefs.ErrAlreadyExists, "ingress network (%s) is already present", have.ID)
		}
	}
	if err := allocator.CheckNetwork(v, spec); err != nil {
		return badSpec("%v", err)
	}
	return nil
}

func (a *API) removeNetwork(w http.ResponseWriter, r *http.Request) error {
	if n, err := findNetwork(a.Store.View(), id(r)); errdefs.IsNotFound(err) || err == nil && !allocator.Managed(n) {
		a.Through.ServeHTTP(w, r)
		return nil
	}
	err := a.Store.Update(r.Context(), func(tx *store.Tx) error {
		n, err := findNetwork(&tx.View, id(r))
		if err != nil {
			return err
		}
		if err := userOf(&tx.View, n); err != nil {
			return err
		}
		tx.Delete(n)
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// userOf says, in Swarm's words, what still needs the network.
func userOf(v *store.View, n *store.Network) error {
	for _, s := range v.Services(store.All()) {
		if n.Spec.Ingress && allocator.NeedsIngress(s.Spec.EndpointSpec) {
			return remote(errdefs.ErrFailedPrecondition, "ingress network cannot be removed because service %s depends on it", s.ID)
		}
		//lint:ignore SA1019 old clients still send it
		for _, t := range slices.Concat(s.Spec.TaskTemplate.Networks, s.Spec.Networks) {
			if t.Target == n.ID {
				return remote(errdefs.ErrFailedPrecondition, "network %s is in use by service %s", n.ID, s.ID)
			}
		}
	}
	for _, t := range v.Tasks(store.OnNetwork(n.ID)) {
		if t.Wanted() && !t.Ended() { // what is on its way out does not count, as with Swarm
			return remote(errdefs.ErrFailedPrecondition, "network %s is in use by task %s", n.ID, t.ID)
		}
	}
	return nil
}

// pruneNetworks removes unused networks of the cluster after dockerd has removed
// its own.
func (a *API) pruneNetworks(w http.ResponseWriter, r *http.Request) error {
	args, err := filtersOf(r, "label", "label!", "until")
	if err != nil {
		return err
	}
	local := ask(a.Through, r)
	var report network.PruneReport
	if local.status != http.StatusOK {
		local.copy(w)
		return nil
	}
	if err := json.Unmarshal(local.body.Bytes(), &report); err != nil {
		return fmt.Errorf("read dockerd's report: %w", err)
	}
	// What a cluster cannot tell by is left alone: nothing is removed by a filter
	// that was not applied.
	if args.Contains("until") || args.Contains("label!") {
		return encode(w, http.StatusOK, report)
	}
	var removed []string
	err = a.Store.Update(r.Context(), func(tx *store.Tx) error {
		removed = removed[:0]
		for _, n := range tx.Networks(store.All()) {
			if n.Spec.Ingress || !allocator.Managed(n) || userOf(&tx.View, n) != nil || !labelled(args, "label", n.Spec.Labels) {
				continue
			}
			tx.Delete(n)
			removed = append(removed, n.Spec.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	report.NetworksDeleted = append(report.NetworksDeleted, removed...)
	return encode(w, http.StatusOK, report)
}
