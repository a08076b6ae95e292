package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/spf13/cobra"
)

// Verdicts of a check, the worst last.
const (
	fine    = "ok"
	warning = "warning"
	problem = "problem"
)

// finding is what one check found, and what to do about it.
type finding struct {
	Check   string
	Verdict string
	Found   string
	Do      string `json:",omitempty"`
}

// doctorTimeout bounds all checks together.
const doctorTimeout = 30 * time.Second

func (a *app) doctorCmd() *cobra.Command {
	var asJSON bool
	var dataDir string
	cmd := &cobra.Command{Use: "doctor", Short: "Check this machine and the cluster, and say what to do", Args: cobra.NoArgs,
		Long: "Check this machine (kernel, disk, clock, ports, Docker) and, on a manager, the cluster (managers, nodes, certificates). Changes nothing.\n" +
			"Exit code 1 if something is wrong; warnings leave it 0."}
	cmd.Flags().BoolVar(&asJSON, "json", false, "the findings as JSON")
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "the daemon's `DIRECTORY`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), doctorTimeout)
		defer cancel()
		findings := examine(ctx, a, dataDir)
		var err error
		if asJSON {
			err = writeJSON(a.out, findings)
		} else {
			err = writeFindings(a.out, findings)
		}
		if err != nil {
			return err
		}
		for _, f := range findings {
			if f.Verdict == problem {
				return codeError{code: exitFailed}
			}
		}
		return nil
	}
	return cmd
}

// examine runs every check that is possible: one that fails leaves the others.
func examine(ctx context.Context, a *app, dataDir string) []finding {
	all := []finding{checkKernel(), checkDisk(dataDir), checkClockSync()}
	cli, err := a.connect()
	if err != nil {
		return append(all, finding{"daemon", problem, err.Error(), "name the endpoint with -H or ORCH_HOST"})
	}
	defer cli.Close()
	info, err := cli.Info(ctx)
	if err != nil {
		return append(all, checkPorts(), finding{"daemon", problem, strings.SplitN(a.explain(ctx, err), "\n", 2)[0], "`orch init` or `orch join` starts it; `journalctl -u orch` or daemon.log in the data directory has its last words"})
	}
	all = append(all, finding{Check: "daemon", Verdict: fine, Found: "answers on " + a.host()}, checkDocker(info), checkMember(info))
	if info.Swarm.LocalNodeState == swarm.LocalNodeStateInactive {
		return append(all, checkPorts())
	}
	if !info.Swarm.ControlAvailable {
		return all
	}
	nodes, err := cli.NodeList(ctx, swarm.NodeListOptions{})
	if err != nil {
		return append(all, finding{"managers", problem, err.Error(), "more than half of the managers must be up"})
	}
	return append(all, checkManagers(nodes), checkNodes(nodes), checkCertificates(info, nodes), checkReachable(ctx, nodes, info.Swarm.NodeID))
}

func writeFindings(w io.Writer, all []finding) error {
	var b strings.Builder
	for _, f := range all {
		fmt.Fprintf(&b, "%-8s %-13s %s\n", f.Verdict, f.Check, f.Found)
		if f.Do != "" {
			fmt.Fprintf(&b, "%-8s %-13s -> %s\n", "", "", f.Do)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func checkDocker(info system.Info) finding {
	f := finding{Check: "docker", Verdict: fine, Found: info.ServerVersion}
	var major int
	_, _ = fmt.Sscanf(info.ServerVersion, "%d", &major)
	switch {
	case major > 0 && major < oldestDocker:
		f.Verdict, f.Do = problem, fmt.Sprintf("Docker %d or later is necessary: upgrade it, containers run on with live-restore", oldestDocker)
	case !info.LiveRestoreEnabled:
		f.Verdict, f.Found = warning, f.Found+", without live-restore"
		f.Do = `"live-restore": true in /etc/docker/daemon.json lets containers run on while dockerd restarts`
	}
	return f
}

// oldestDocker is the oldest engine that orch is tested with.
const oldestDocker = 20

func checkMember(info system.Info) finding {
	s := info.Swarm
	f := finding{Check: "cluster", Verdict: fine, Found: string(s.LocalNodeState)}
	switch s.LocalNodeState {
	case swarm.LocalNodeStateInactive:
		f.Verdict, f.Do = warning, "`orch init` makes a cluster of this machine, `orch join` joins one"
	case swarm.LocalNodeStateLocked:
		f.Verdict, f.Do = problem, "`orch unlock` takes the unlock key"
	case swarm.LocalNodeStateError, swarm.LocalNodeStatePending:
		f.Verdict, f.Found = problem, f.Found+": "+s.Error
		f.Do = "more than half of the managers must be up; where they are lost for good, `docker swarm init --force-new-cluster` goes on alone"
		if s.LocalNodeState == swarm.LocalNodeStateError {
			f.Do = "`orch restore --snapshot`, or `orch restore FILE`"
		}
	}
	return f
}

func checkManagers(nodes []swarm.Node) finding {
	managers, up, leader := 0, 0, "nobody"
	for _, n := range nodes {
		if n.ManagerStatus == nil {
			continue
		}
		managers++
		if n.ManagerStatus.Reachability == swarm.ReachabilityReachable {
			up++
		}
		if n.ManagerStatus.Leader {
			leader = n.Description.Hostname
		}
	}
	f := finding{Check: "managers", Verdict: fine, Found: fmt.Sprintf("%d of %d reachable, %s leads", up, managers, leader)}
	spare := up - (managers/2 + 1)
	switch {
	case up < managers:
		f.Verdict, f.Do = problem, fmt.Sprintf("bring the lost ones back, or `orch node demote` and `orch node rm` them: %d more may be lost before the cluster stands still", max(0, spare))
	case managers == 1:
		f.Verdict, f.Do = warning, "nobody takes over when this machine is lost: `orch backup` regularly, or make three managers (`orch token manager`)"
	case managers%2 == 0:
		f.Verdict, f.Do = warning, fmt.Sprintf("an even number survives no more losses than %d: add one or demote one", managers-1)
	}
	return f
}

func checkNodes(nodes []swarm.Node) finding {
	f := finding{Check: "nodes", Verdict: fine, Found: plural(len(nodes), "node") + ", all ready"}
	var down, limited []string
	for _, n := range nodes {
		switch {
		case n.Status.State != swarm.NodeStateReady:
			down = append(down, n.Description.Hostname)
		case n.Status.Message != "":
			limited = append(limited, n.Description.Hostname+": "+n.Status.Message)
		}
	}
	switch {
	case len(down) > 0:
		f.Verdict, f.Found, f.Do = problem, "not ready: "+strings.Join(down, ", "), "start them, or `orch node rm` those that are gone for good"
	case len(limited) > 0:
		f.Verdict, f.Found, f.Do = warning, strings.Join(limited, "; "), "what a node cannot do, its tasks do without; `orch node inspect` has it all"
	}
	return f
}
