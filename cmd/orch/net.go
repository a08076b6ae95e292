package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

// netPath is how one node reaches another.
type netPath struct {
	NodeID string
	UDP    bool
	TCP    bool
	RTT    time.Duration `json:",omitempty"`
	MTU    int           `json:",omitempty"`
	Err    string        `json:",omitempty"`
}

// netNode is a node's part in a check or of a network.
type netNode struct {
	ID       string
	Hostname string
	Addr     string
	State    string
	Err      string `json:",omitempty"`

	Network *struct {
		Engine, Bridge, Port string
		MTU                  int
		NodeIP               string `json:",omitempty"`
		Remotes              int
		Differences          []string `json:",omitempty"`
	} `json:",omitempty"`
	MTU   int       `json:",omitempty"`
	Paths []netPath `json:",omitempty"`
}

// netReport is a network as it should be and as it is.
type netReport struct {
	ID, Name  string
	Subnets   []string
	VXLAN     uint32
	Encrypted bool
	Services  []struct{ Service, Addr string }
	Tasks     []struct {
		Name, TaskID, NodeID, Hostname, State string
		Addrs                                 []string
	}
	Nodes []netNode
}

func (a *app) netCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "net", Short: "See whether the networks between nodes work", Args: noSubcommand, RunE: helpRun}
	cmd.AddCommand(a.netCheckCmd(), a.netInspectCmd())
	return cmd
}

func (a *app) netCheckCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "check", Short: "Try the way from each node to each other, as overlay networks use it", Args: cobra.NoArgs,
		Long: "Try the way from each node to each other: UDP and TCP through VXLAN on the data path port, and the largest packet that gets through.\n" +
			"It takes some seconds and disturbs nothing. The exit code is 1 when a node does not reach another.",
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = a.call(func(ctx context.Context, cli *client.Client, _ []string) error {
		var nodes []netNode
		if err := own(ctx, cli, http.MethodPost, "/orch/net/check", &nodes); err != nil {
			return err
		}
		if asJSON {
			if err := writeJSON(a.out, nodes); err != nil {
				return err
			}
		} else if err := renderCheck(a.out, nodes, a.colours(a.out)); err != nil {
			return err
		}
		if bad := troubles(nodes); len(bad) > 0 {
			return fmt.Errorf("%d of the ways between nodes do not work", len(bad))
		}
		return nil
	})
	return cmd
}

// own calls a route of orch's that Docker does not have.
func own(ctx context.Context, cli *client.Client, method, path string, out any) error {
	scheme := "http"
	if strings.HasPrefix(cli.DaemonHost(), "tcp://") && cli.HTTPClient().Transport.(*http.Transport).TLSClientConfig != nil {
		scheme = "https"
	}
	host := "docker"
	if u, err := url.Parse(cli.DaemonHost()); err == nil && u.Scheme == "tcp" {
		host = u.Host
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://"+host+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := cli.HTTPClient().Do(req)
	if err != nil {
		//lint:ignore SA1019 the one error that says so to the user as the client itself does
		return client.ErrorConnectionFailed(cli.DaemonHost())
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var refused struct{ Message string }
		if json.Unmarshal(body, &refused) != nil || refused.Message == "page not found" || refused.Message == "" {
			return fmt.Errorf("this needs a manager of orch: %s answers %s", cli.DaemonHost(), resp.Status)
		}
		return fmt.Errorf("%s", refused.Message)
	}
	return json.NewDecoder(bytes.NewReader(body)).Decode(out)
}

// troubles are the ways that do not work, and the nodes that did not try, in words.
func troubles(nodes []netNode) (out []string) {
	names := map[string]string{}
	for _, n := range nodes {
		names[n.ID] = n.Hostname
	}
	for _, n := range nodes {
		if n.Err != "" {
			out = append(out, n.Hostname+": "+n.Err)
		}
		for _, p := range n.Paths {
			if p.Err != "" {
				out = append(out, n.Hostname+" to "+names[p.NodeID]+": "+p.Err)
			} else if p.MTU < n.MTU {
				out = append(out, fmt.Sprintf("%s to %s: packets above %d bytes are lost, and networks have an MTU of %d: create them with --opt com.docker.network.driver.mtu=%d",
					n.Hostname, names[p.NodeID], p.MTU, n.MTU, p.MTU))
			}
		}
	}
	return out
}

// renderCheck prints a line for each node, with a column for each other.
func renderCheck(w io.Writer, nodes []netNode, colour bool) error {
	t := table{header: []string{"FROM", "ADDRESS", "MTU"}, colour: colour}
	for _, n := range nodes {
		t.header = append(t.header, "TO "+n.Hostname)
	}
	for _, n := range nodes {
		cells := []cell{text(n.Hostname), text(n.Addr), text(fmt.Sprint(n.MTU))}
		paths := map[string]netPath{}
		for _, p := range n.Paths {
			paths[p.NodeID] = p
		}
		for _, other := range nodes {
			cells = append(cells, pathCell(n, other, paths))
		}
		t.add(cells...)
	}
	if err := t.write(w); err != nil {
		return err
	}
	for _, line := range troubles(nodes) {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func pathCell(from, to netNode, paths map[string]netPath) cell {
	p, tried := paths[to.ID]
	switch {
	case from.ID == to.ID:
		return tinted("-", dim)
	case !tried:
		return tinted("not tried", yellow)
	case !p.UDP && !p.TCP:
		return tinted("nothing", red)
	case !p.TCP:
		return tinted("no TCP", red)
	case !p.UDP:
		return tinted("no UDP", red)
	case p.MTU < from.MTU:
		return tinted(fmt.Sprintf("MTU %d", p.MTU), yellow)
	}
	return tinted("ok "+p.RTT.Round(10*time.Microsecond).String(), green)
}

func (a *app) netInspectCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "inspect NETWORK", Short: "Show a network's addresses, and what each node has of it", Args: cobra.ExactArgs(1)}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = a.call(func(ctx context.Context, cli *client.Client, args []string) error {
		var r netReport
		if err := own(ctx, cli, http.MethodGet, "/orch/net/"+url.PathEscape(args[0]), &r); err != nil {
			return err
		}
		if asJSON {
			return writeJSON(a.out, r)
		}
		return renderNet(a.out, r, a.colours(a.out))
	})
	return cmd
}

func renderNet(w io.Writer, r netReport, colour bool) error {
	kind := ""
	if r.Encrypted {
		kind = ", encrypted"
	}
	fmt.Fprintf(w, "%s (%s): %s, VXLAN %d%s\n\n", r.Name, r.ID, strings.Join(r.Subnets, ", "), r.VXLAN, kind)
	t := table{header: []string{"ADDRESS", "OF", "NODE", "STATE"}, colour: colour}
	for _, s := range r.Services {
		t.add(text(s.Addr), text("service "+s.Service), text(""), text(""))
	}
	for _, p := range r.Tasks {
		t.add(text(strings.Join(p.Addrs, ", ")), text(p.Name), text(p.Hostname), text(p.State))
	}
	for _, n := range r.Nodes {
		if n.Network != nil {
			t.add(text(n.Network.NodeIP), text("the node itself"), text(n.Hostname), text(""))
		}
	}
	if err := t.write(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	nodes := table{header: []string{"NODE", "BRIDGE", "TO OTHERS BY", "MTU", "REMOTE", "KERNEL"}, colour: colour}
	for _, n := range r.Nodes {
		if n.Network == nil {
			nodes.add(text(n.Hostname), text(""), text(""), text(""), text(""), tinted(n.Err, red))
			continue
		}
		state := tinted("as it should be", green)
		if d := len(n.Network.Differences); d > 0 {
			state = tinted(fmt.Sprintf("%d differences", d), red)
		}
		nodes.add(text(n.Hostname), text(n.Network.Bridge), text(n.Network.Port), text(fmt.Sprint(n.Network.MTU)), text(fmt.Sprint(n.Network.Remotes)), state)
	}
	if err := nodes.write(w); err != nil {
		return err
	}
	for _, n := range r.Nodes {
		if n.Network == nil {
			continue
		}
		for _, d := range n.Network.Differences {
			if _, err := fmt.Fprintf(w, "%s: %s\n", n.Hostname, d); err != nil {
				return err
			}
		}
	}
	return nil
}
