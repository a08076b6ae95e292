package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/versions"
	"github.com/gorilla/mux"

	"orch/internal/bus"
	"orch/worker/attach"
)

const (
	// perEndpointMAC is the first API version in which a container has a MAC address for each network.
	perEndpointMAC = "1.44"
	// maxContainer bounds the description of a container.
	maxContainer = 4 << 20
)

// joiner is what the routes below need of attach.Keeper.
type joiner interface {
	Join(context.Context, bus.AttachRequest) (*attach.Place, error)
	Local(ctx context.Context, ref string) string
	Drop(ids ...string)
	Look()
}

// attachments puts containers that are to be on networks of the cluster there: what is passed on to dockerd names the network's
// bridge on this node, and the address that the managers gave.
type attachments struct {
	keeper  joiner
	through http.Handler
	// newest is the engine's API version.
	newest string
}

func (a *attachments) register(r *mux.Router) {
	for _, prefix := range []string{"", "/v{version:[0-9.]+}"} {
		for path, do := range map[string]func(http.ResponseWriter, *http.Request) error{
			"/containers/create": a.create, "/networks/{id}/connect": a.connect, "/networks/{id}/disconnect": a.disconnect,
		} {
			r.Path(prefix + path).Methods(http.MethodPost).HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := do(w, r); err != nil {
					refuse(w, err)
				}
			})
		}
	}
}

// refuse answers as dockerd does when its managers refuse.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch {
	case strings.Contains(err.Error(), "PermissionDenied"):
		status = http.StatusForbidden
	case errors.Is(err, errBody), strings.Contains(err.Error(), "IP address"), strings.Contains(err.Error(), "already in use"):
		status = http.StatusBadRequest
	case errors.Is(err, bus.ErrNoManager), errors.Is(err, context.DeadlineExceeded):
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": err.Error()}) // a client that has gone away wants no answer
}

var errBody = errors.New("invalid request")

// object is a JSON object of which only some fields are touched.
type object map[string]any

// in is the object in a field, made if there is none.
func (o object) in(field string) object {
	if v, ok := o[field].(map[string]any); ok {
		return v
	}
	v := map[string]any{}
	o[field] = v
	return v
}

func (o object) text(field string) string { s, _ := o[field].(string); return s }

func (o object) texts(field string) (out []string) {
	list, _ := o[field].([]any)
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func read(r *http.Request) (object, []byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxContainer+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errBody, err)
	}
	if len(raw) > maxContainer {
		return nil, nil, fmt.Errorf("%w: the body is larger than %d MiB", errBody, maxContainer>>20)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var o object
	if dec.Decode(&o) != nil || o == nil {
		return nil, raw, nil // dockerd says what is wrong with it
	}
	return o, raw, nil
}

// send passes a request on with another body.
func (a *attachments) send(w http.ResponseWriter, r *http.Request, body []byte) {
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Del("Content-Length")
	r.TransferEncoding = nil
	a.through.ServeHTTP(w, r)
}

// create passes a container's creation on.
func (a *attachments) create(w http.ResponseWriter, r *http.Request) error {
	o, raw, err := read(r)
	if err != nil {
		return err
	}
	if o == nil {
		a.send(w, r, raw)
		return nil
	}
	places, err := a.place(r, o)
	if err != nil || len(places) == 0 {
		if err == nil {
			a.send(w, r, raw) // untouched
		}
		return err
	}
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	answer := &status{ResponseWriter: w}
	a.send(answer, r, body)
	if answer.code >= http.StatusBadRequest {
		a.keeper.Drop(places...) // no such image, most often: the client pulls it and asks again
	} else {
		a.keeper.Look()
	}
	return nil
}

// place gives a container a place on each of the cluster's networks that its description names.
func (a *attachments) place(r *http.Request, o object) (ids []string, err error) {
	defer func() {
		if err != nil {
			a.keeper.Drop(ids...)
		}
	}()
	host := o.in("HostConfig")
	mode := host.text("NetworkMode")
	asked := map[string]bool{}
	if userDefined(mode) {
		asked[mode] = true
	}
	var endpoints object
	if _, ok := o["NetworkingConfig"].(map[string]any); ok || len(asked) > 0 {
		endpoints = o.in("NetworkingConfig").in("EndpointsConfig")
	}
	for name := range endpoints {
		if userDefined(name) {
			asked[name] = true
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(asked)) {
		settings := endpoints.in(ref)
		p, err := a.join(r, ref, strings.TrimPrefix(r.URL.Query().Get("name"), "/"), settings)
		if err != nil {
			return ids, err
		}
		if p == nil {
			if len(settings) == 0 {
				delete(endpoints, ref) // as it came
			}
			continue
		}
		ids = append(ids, p.ID)
		delete(endpoints, ref)
		endpoints[p.Network] = map[string]any(settings)
		if ref == mode {
			host["NetworkMode"] = p.Network
			if a.old(r) {
				o["MacAddress"] = mac(p) // the engine gives it to this network
			}
		}
		if len(host.texts("Dns")) == 0 && p.DNS != "" {
			host["Dns"] = []string{p.DNS}
		}
	}
	return ids, nil
}

// join asks for one place and writes it into the endpoint's settings.
func (a *attachments) join(r *http.Request, ref, container string, settings object) (*attach.Place, error) {
	ipam, _ := settings["IPAMConfig"].(map[string]any)
	req := bus.AttachRequest{Network: ref, Container: container, Aliases: settings.texts("Aliases")}
	for _, field := range []string{"IPv4Address", "IPv6Address"} {
		if s := object(ipam).text(field); s != "" {
			req.Addresses = append(req.Addresses, s)
		}
	}
	p, err := a.keeper.Join(r.Context(), req)
	if p == nil || err != nil {
		return nil, err
	}
	if asked := settings.text("MacAddress"); asked != "" && !strings.EqualFold(asked, mac(p)) {
		a.keeper.Drop(p.ID)
		return nil, fmt.Errorf("%w: network %s: a container's MAC address follows from its IP address there (%s)", errBody, ref, mac(p))
	}
	config := settings.in("IPAMConfig")
	config["IPv4Address"] = p.Addr4.String()
	if p.Addr6.IsValid() {
		config["IPv6Address"] = p.Addr6.String()
	}
	if !a.old(r) {
		settings["MacAddress"] = mac(p)
	}
	return p, nil
}

// old says that a request is made in a version of the API in which endpoints have no MAC address.
func (a *attachments) old(r *http.Request) bool {
	v := mux.Vars(r)["version"]
	if v == "" {
		v = a.newest
	}
	return versions.LessThan(v, perEndpointMAC)
}

// mac is the hardware address that every node expects: forwarding entries are made from the IP address alone.
func mac(p *attach.Place) string {
	b := p.Addr4.As4()
	return net.HardwareAddr{0x02, 0x42, b[0], b[1], b[2], b[3]}.String()
}

func userDefined(mode string) bool {
	switch mode {
	case "", "default", "bridge", "host", "none":
		return false
	}
	return !strings.HasPrefix(mode, "container:")
}

// connect passes on that a container is to be on another network.
func (a *attachments) connect(w http.ResponseWriter, r *http.Request) error {
	o, raw, err := read(r)
	if err != nil {
		return err
	}
	ref := pathID(r)
	var p *attach.Place
	if o != nil && userDefined(ref) {
		// An endpoint's MAC address takes a newer version than old clients ask for; the answer is the same in all.
		if a.old(r) && !versions.LessThan(a.newest, perEndpointMAC) {
			mux.Vars(r)["version"] = perEndpointMAC
			rest := strings.TrimPrefix(r.URL.Path, "/v")
			r.URL.Path, r.URL.RawPath = "/v"+perEndpointMAC+rest[strings.IndexByte(rest, '/'):], ""
		}
		if p, err = a.join(r, ref, o.text("Container"), o.in("EndpointConfig")); err != nil {
			return err
		}
	}
	if p == nil {
		a.send(w, r, raw)
		return nil
	}
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	rename(r, "connect", p.Network)
	answer := &status{ResponseWriter: w}
	a.send(answer, r, body)
	if answer.code >= http.StatusBadRequest {
		a.keeper.Drop(p.ID)
	} else {
		a.keeper.Look()
	}
	return nil
}

// disconnect passes on that a container is to leave a network.
func (a *attachments) disconnect(w http.ResponseWriter, r *http.Request) error {
	if local := a.keeper.Local(r.Context(), pathID(r)); local != "" {
		rename(r, "disconnect", local)
	}
	a.through.ServeHTTP(w, r)
	a.keeper.Look()
	return nil
}

// rename has a request speak of the engine's network.
func rename(r *http.Request, verb, network string) {
	prefix := ""
	if v := mux.Vars(r)["version"]; v != "" {
		prefix = "/v" + v
	}
	r.URL.Path, r.URL.RawPath = prefix+"/networks/"+network+"/"+verb, prefix+"/networks/"+url.PathEscape(network)+"/"+verb
}

func pathID(r *http.Request) string {
	raw := mux.Vars(r)["id"]
	if s, err := url.PathUnescape(raw); err == nil {
		return s
	}
	return raw
}

// status remembers how a request ended.
type status struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }
