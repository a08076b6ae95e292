package extra

import (
	"github.com/docker/docker/api/types/blkiodev"
	"github.com/docker/docker/api/types/container"
)

// Apply lays e over a container that is about to be created. What e leaves empty is not touched. Pull policy, image
// ID and hooks are not part of a container's configuration: the worker acts on them itself.
func (e Extra) Apply(c *container.Config, h *container.HostConfig) {
	set(&c.Domainname, e.Domainname)
	//lint:ignore SA1019 the per-network field needs API 1.44; older engines read this one
	set(&c.MacAddress, e.MacAddress)
	set(&c.StdinOnce, e.StdinOnce)
	set(&h.Runtime, e.Runtime)
	set(&h.CgroupnsMode, container.CgroupnsMode(e.CgroupnsMode))
	set(&h.IpcMode, container.IpcMode(e.IpcMode))
	set(&h.NetworkMode, container.NetworkMode(e.NetworkMode))
	set(&h.PidMode, container.PidMode(e.PidMode))
	set(&h.UsernsMode, container.UsernsMode(e.UsernsMode))
	set(&h.UTSMode, container.UTSMode(e.UTSMode))
	set(&h.Privileged, e.Privileged)
	if len(e.Annotations) > 0 {
		h.Annotations = e.Annotations
	}
	if len(e.StorageOpt) > 0 {
		h.StorageOpt = e.StorageOpt
	}
	h.SecurityOpt = append(h.SecurityOpt, e.SecurityOpt...)
	h.Devices = append(h.Devices, e.Devices...)
	h.DeviceCgroupRules = append(h.DeviceCgroupRules, e.DeviceCgroupRules...)
	h.DeviceRequests = append(h.DeviceRequests, e.DeviceRequests...)
	e.Resources.apply(&h.Resources)
}

func (r Resources) apply(to *container.Resources) {
	set(&to.BlkioWeight, r.BlkioWeight)
	set(&to.CgroupParent, r.CgroupParent)
	set(&to.CPUPeriod, r.CPUPeriod)
	set(&to.CPUQuota, r.CPUQuota)
	set(&to.CPURealtimePeriod, r.CPURealtimePeriod)
	set(&to.CPURealtimeRuntime, r.CPURealtimeRuntime)
	set(&to.CPUShares, r.CPUShares)
	set(&to.CpusetCpus, r.CpusetCpus)
	set(&to.MemorySwap, r.MemorySwap)
	set(&to.MemorySwappiness, r.MemorySwappiness)
	if r.OomKillDisable {
		to.OomKillDisable = &r.OomKillDisable
	}
	for _, d := range r.BlkioWeightDevice {
		to.BlkioWeightDevice = append(to.BlkioWeightDevice, &blkiodev.WeightDevice{Path: d.Path, Weight: d.Weight})
	}
	throttle(&to.BlkioDeviceReadBps, r.BlkioDeviceReadBps)
	throttle(&to.BlkioDeviceReadIOps, r.BlkioDeviceReadIOps)
	throttle(&to.BlkioDeviceWriteBps, r.BlkioDeviceWriteBps)
	throttle(&to.BlkioDeviceWriteIOps, r.BlkioDeviceWriteIOps)
}

func throttle(to *[]*blkiodev.ThrottleDevice, devices []ThrottleDevice) {
	for _, d := range devices {
		*to = append(*to, &blkiodev.ThrottleDevice{Path: d.Path, Rate: d.Rate})
	}
}

// set writes v unless it is the zero value.
func set[T comparable](to *T, v T) {
	var zero T
	if v != zero {
		*to = v
	}
}
