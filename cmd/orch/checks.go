package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"golang.org/x/sys/unix"
)

const (
	// slowSync and freeSpace are when a disk is too slow, or too full, for a manager's state, which is synced on every write.
	slowSync  = 50 * time.Millisecond
	freeSpace = 1 << 30
	// syncTries is how many syncs are timed.
	syncTries = 10
	// caSoon is when a CA's end is worth a word.
	caSoon = 90 * 24 * time.Hour
	// reachTimeout bounds one connection to another manager.
	reachTimeout = 2 * time.Second
)

// busPorts are what a manager listens on unless told otherwise.
var busPorts = []string{"2377", "2378", "2379"}

// checkKernel looks for what overlay networks and service addresses need.
func checkKernel() finding {
	f := finding{Check: "kernel", Verdict: fine}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		f.Found = unix.ByteSliceToString(u.Release[:])
	}
	// What is built in or loaded has symbols; what could be loaded lies on disk.
	symbols, _ := os.ReadFile("/proc/kallsyms")
	var missing []string
	for module, symbol := range map[string]string{"vxlan": " vxlan_", "nf_tables": " nft_", "bridge": " br_", "veth": " veth_"} {
		onDisk, _ := filepath.Glob("/lib/modules/" + f.Found + "/kernel/*/*/" + module + ".ko*")
		if len(onDisk) == 0 && len(symbols) > 0 && !bytes.Contains(symbols, []byte(symbol)) {
			missing = append(missing, module)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		f.Verdict, f.Found = warning, f.Found+", no sign of "+strings.Join(missing, ", ")
		f.Do = "`orch node inspect self` says what the daemon found that it cannot do; install the kernel's extra modules if something is missing"
	}
	return f
}

// checkDisk times syncs where the state lies, and looks for room.
func checkDisk(dir string) finding {
	f := finding{Check: "disk", Verdict: fine}
	for dir != "/" && dir != "." {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return finding{"disk", problem, fmt.Sprintf("%s: %v", dir, err), "see that the data directory's file system is mounted"}
	}
	free := uint64(s.Bsize) * s.Bavail
	f.Found = fmt.Sprintf("%s free in %s", gigabytes(int64(free)), dir)
	if free < freeSpace {
		f.Verdict, f.Do = problem, "a manager refuses writes when the disk is full: make room (`docker system prune` shows what it would take)"
		return f
	}
	took, err := syncTime(dir)
	switch {
	case errors.Is(err, os.ErrPermission):
		f.Verdict, f.Do = warning, "run as root to have the disk's sync timed"
	case err != nil:
		f.Verdict, f.Found, f.Do = problem, err.Error(), "the data directory must be writable"
	default:
		f.Found += fmt.Sprintf(", a sync takes %s", took.Round(100*time.Microsecond))
		if took > slowSync {
			f.Verdict, f.Do = warning, "every change of the state waits for the disk: put the data directory on a faster one"
		}
	}
	return f
}

// syncTime is the middle one of a few small synced writes.
func syncTime(dir string) (time.Duration, error) {
	file, err := os.CreateTemp(dir, ".orch-doctor-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	begin := time.Now()
	for range syncTries {
		if _, err := file.Write(make([]byte, 4<<10)); err != nil {
			return 0, err
		}
		if err := file.Sync(); err != nil {
			return 0, err
		}
	}
	return time.Since(begin) / syncTries, nil
}

// checkClockSync asks the kernel whether anything keeps its clock. Leases and fences do not depend on it; certificates do.
func checkClockSync() finding {
	f := finding{Check: "clock", Verdict: fine, Found: "kept in time"}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil || state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		f.Verdict, f.Found = warning, "nothing keeps the clock in time"
		f.Do = "run chrony or systemd-timesyncd: a clock that is off by more than an hour refuses good certificates"
	}
	return f
}

// checkPorts looks, before a machine is in a cluster, whether its ports are free.
func checkPorts() finding {
	f := finding{Check: "ports", Verdict: fine, Found: "2377 to 2379/tcp and 4789/udp are free"}
	var taken []string
	for _, port := range busPorts {
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			taken = append(taken, port+"/tcp")
			continue
		}
		l.Close()
	}
	if c, err := net.ListenPacket("udp", ":4789"); err != nil {
		taken = append(taken, "4789/udp")
	} else {
		c.Close()
	}
	if len(taken) > 0 {
		f.Verdict, f.Found = warning, "in use: "+strings.Join(taken, ", ")
		f.Do = "`ss -lntup` shows by whom; --listen-addr moves the first three, `docker swarm init --data-path-port` the last"
	}
	return f
}

// checkReachable connects to the other managers' ports, as this machine would.
func checkReachable(ctx context.Context, nodes []swarm.Node, self string) finding {
	f := finding{Check: "reachability", Verdict: fine}
	tried, failed := 0, []string{}
	for _, n := range nodes {
		if n.ManagerStatus == nil || n.ID == self {
			continue
		}
		tried++
		conn, err := (&net.Dialer{Timeout: reachTimeout}).DialContext(ctx, "tcp", n.ManagerStatus.Addr)
		if err != nil {
			failed = append(failed, fmt.Sprintf("%s (%v)", n.Description.Hostname, err))
			continue
		}
		conn.Close()
	}
	f.Found = fmt.Sprintf("%d other managers answer", tried)
	if len(failed) > 0 {
		f.Verdict, f.Found = problem, "not reached: "+strings.Join(failed, "; ")
		f.Do = "open 2377 to 2379/tcp and 4789/udp between the nodes"
	}
	return f
}

// checkCertificates looks at the CA's end, and for nodes that do not follow it.
func checkCertificates(info system.Info, nodes []swarm.Node) finding {
	f := finding{Check: "certificates", Verdict: fine}
	if info.Swarm.Cluster == nil {
		return finding{"certificates", problem, "the cluster does not say who its CA is", "`orch ca` shows it on another manager"}
	}
	s := swarm.Swarm{ClusterInfo: *info.Swarm.Cluster}
	block, _ := pem.Decode([]byte(s.TLSInfo.TrustRoot))
	if block == nil {
		return finding{"certificates", problem, "the cluster's CA cannot be read", "`orch ca --rotate` makes another one"}
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return finding{"certificates", problem, err.Error(), "`orch ca --rotate` makes another one"}
	}
	f.Found = "the CA is valid until " + cert.NotAfter.Format(dateFormat)
	behind := followers(s, nodes)
	switch {
	case time.Until(cert.NotAfter) < caSoon:
		f.Verdict, f.Do = problem, "`orch ca --rotate` has another CA take over while everything runs"
	case len(behind) > 0 && s.RootRotationInProgress:
		f.Verdict, f.Found = warning, fmt.Sprintf("another CA takes over, %d of %d nodes still have to follow", len(behind), len(nodes))
		f.Do = "start the nodes that are down, or `orch node rm` them (`orch ca` lists them)"
	}
	return f
}
