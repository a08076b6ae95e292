package compose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/container"

	"orch/internal/extra"
)

// extra collects what swarm.ContainerSpec has no field for.
func (c *converter) extra(s types.ServiceConfig) (extra.Extra, error) {
	for key, mode := range map[string]string{"ipc": s.Ipc, "pid": s.Pid} {
		if strings.HasPrefix(mode, "service:") || strings.HasPrefix(mode, "container:") {
			return extra.Extra{}, fmt.Errorf("%s: %q: tasks of two services need not be on one node", key, mode)
		}
	}
	e := extra.Extra{
		Annotations: s.Annotations, Domainname: s.DomainName, MacAddress: s.MacAddress, Privileged: s.Privileged, Runtime: s.Runtime, StorageOpt: s.StorageOpt,
		CgroupnsMode: s.Cgroup, IpcMode: s.Ipc, PidMode: s.Pid, UsernsMode: s.UserNSMode, UTSMode: s.Uts, DeviceCgroupRules: s.DeviceCgroupRules,
		Resources: extraResources(s), ImageID: c.images[s.Name], PostStart: hooks(s.PostStart), PreStop: hooks(s.PreStop),
	}
	_, e.SecurityOpt = privileges(s)
	if s.NetworkMode == "none" {
		e.NetworkMode = "none"
	}
	for _, d := range s.Devices {
		e.Devices = append(e.Devices, container.DeviceMapping{PathOnHost: d.Source, PathInContainer: d.Target, CgroupPermissions: d.Permissions})
	}
	for _, g := range s.Gpus {
		if len(g.Capabilities) == 0 {
			g.Capabilities = []string{"gpu"}
		} else if !slices.Contains(g.Capabilities, "gpu") {
			g.Capabilities = append(slices.Clone(g.Capabilities), "gpu")
		}
		e.DeviceRequests = append(e.DeviceRequests, deviceRequest(g))
	}
	if s.Deploy != nil && s.Deploy.Resources.Reservations != nil {
		for _, d := range s.Deploy.Resources.Reservations.Devices {
			e.DeviceRequests = append(e.DeviceRequests, deviceRequest(d))
		}
	}
	if s.PullPolicy != "" {
		policy, after, err := s.GetPullPolicy()
		if err != nil {
			return e, fmt.Errorf("pull_policy: %w", err)
		}
		if policy == types.PullPolicyIfNotPresent {
			policy = types.PullPolicyMissing
		}
		e.PullPolicy, e.PullAfter = policy, after
	}
	if s.PullRefreshAfter != "" {
		policy, after, err := (types.ServiceConfig{ContainerSpec: types.ContainerSpec{PullPolicy: "every_" + s.PullRefreshAfter}}).GetPullPolicy()
		if err != nil {
			return e, fmt.Errorf("pull_refresh_after: %w", err)
		}
		e.PullPolicy, e.PullAfter = policy, after
	}
	return e, nil
}

func extraResources(s types.ServiceConfig) extra.Resources {
	r := extra.Resources{
		CgroupParent: s.CgroupParent, CPUPeriod: s.CPUPeriod, CPUQuota: s.CPUQuota, CPURealtimePeriod: s.CPURTPeriod, CPURealtimeRuntime: s.CPURTRuntime,
		CPUShares: s.CPUShares, CpusetCpus: s.CPUSet, MemorySwap: int64(s.MemSwapLimit), OomKillDisable: s.OomKillDisable,
	}
	if s.MemSwappiness != 0 {
		v := int64(s.MemSwappiness)
		r.MemorySwappiness = &v
	}
	if b := s.BlkioConfig; b != nil {
		r.BlkioWeight = b.Weight
		for _, d := range b.WeightDevice {
			r.BlkioWeightDevice = append(r.BlkioWeightDevice, extra.WeightDevice{Path: d.Path, Weight: d.Weight})
		}
		r.BlkioDeviceReadBps, r.BlkioDeviceReadIOps = throttle(b.DeviceReadBps), throttle(b.DeviceReadIOps)
		r.BlkioDeviceWriteBps, r.BlkioDeviceWriteIOps = throttle(b.DeviceWriteBps), throttle(b.DeviceWriteIOps)
	}
	return r
}

func throttle(list []types.ThrottleDevice) []extra.ThrottleDevice {
	var out []extra.ThrottleDevice
	for _, d := range list {
		out = append(out, extra.ThrottleDevice{Path: d.Path, Rate: uint64(max(d.Rate, 0))})
	}
	return out
}

func deviceRequest(d types.DeviceRequest) container.DeviceRequest {
	out := container.DeviceRequest{Driver: d.Driver, Count: int(d.Count), DeviceIDs: d.IDs, Options: d.Options}
	if len(d.Capabilities) > 0 {
		out.Capabilities = [][]string{d.Capabilities}
	}
	if out.Count == 0 && len(out.DeviceIDs) == 0 {
		out.Count = -1 // compose: all, when neither count nor ids are given
	}
	return out
}

func hooks(list []types.ServiceHook) []extra.Hook {
	var out []extra.Hook
	for _, h := range list {
		out = append(out, extra.Hook{Command: h.Command, User: h.User, Privileged: h.Privileged, WorkingDir: h.WorkingDir, Env: environment(h.Environment)})
	}
	return out
}
