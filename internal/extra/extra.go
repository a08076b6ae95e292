// Package extra carries the settings of a container that Docker's swarm.ContainerSpec has no field for: devices,
// privileged mode, namespaces, hooks and the like.
//
// They travel as one label, orch.extra, of the ContainerSpec. Labels survive every Swarm client's read-modify-write, and a
// change to a container label restarts tasks, which is what a change to these settings needs. The composer writes the label
// with ToLabels; the worker reads it with FromLabels and lays it over the container it is about to create with Apply.
//
// The package must stay free of policy: what a compose key means is decided by package compose, what a node allows by
// the worker.
package extra

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/docker/docker/api/types/container"
)

// Label is the container label that holds the encoding.
const Label = "orch.extra"

// Extra is what a task's container gets beyond its swarm.ContainerSpec. The zero value adds nothing. Field names of the
// encoding are short and stable: they are stored in service specs.
type Extra struct {
	Annotations map[string]string `json:"annotations,omitempty"`
	Domainname  string            `json:"domainname,omitempty"`
	MacAddress  string            `json:"mac,omitempty"`
	Privileged  bool              `json:"privileged,omitempty"`
	Runtime     string            `json:"runtime,omitempty"`
	SecurityOpt []string          `json:"securityOpt,omitempty"`
	StorageOpt  map[string]string `json:"storageOpt,omitempty"`

	// Namespaces, in the words of `docker run` ("host", "private" …).
	CgroupnsMode string `json:"cgroupns,omitempty"`
	IpcMode      string `json:"ipc,omitempty"`
	NetworkMode  string `json:"net,omitempty"` // only "none": the others are Swarm networks
	PidMode      string `json:"pid,omitempty"`
	UsernsMode   string `json:"userns,omitempty"`
	UTSMode      string `json:"uts,omitempty"`

	Devices           []container.DeviceMapping `json:"devices,omitempty"`
	DeviceCgroupRules []string                  `json:"deviceCgroupRules,omitempty"`
	DeviceRequests    []container.DeviceRequest `json:"deviceRequests,omitempty"`

	Resources Resources `json:"resources,omitzero"`

	// PullPolicy is always, never, missing, build or refresh; empty is Swarm's "pull, else use what is there".
	PullPolicy string `json:"pull,omitempty"`
	// PullAfter is the age at which the refresh policy pulls again.
	PullAfter time.Duration `json:"pullAfter,omitempty"`
	// ImageID is the image that `build:` made. It changes when the build's result does, so that a rebuilt tag rolls the
	// service, and a node that still has an earlier build runs that one for a task of before.
	ImageID string `json:"imageID,omitempty"`

	// StdinOnce ends the process's input with the first client's: `echo x | orch run -i` would wait for ever without.
	StdinOnce bool `json:"stdinOnce,omitempty"`

	PostStart []Hook `json:"postStart,omitempty"`
	PreStop   []Hook `json:"preStop,omitempty"`
}

// Resources are cgroup settings that swarm.ResourceRequirements lacks. Units are dockerd's.
type Resources struct {
	BlkioWeight          uint16           `json:"blkioWeight,omitempty"`
	BlkioWeightDevice    []WeightDevice   `json:"blkioWeightDevice,omitempty"`
	BlkioDeviceReadBps   []ThrottleDevice `json:"blkioReadBps,omitempty"`
	BlkioDeviceReadIOps  []ThrottleDevice `json:"blkioReadIOps,omitempty"`
	BlkioDeviceWriteBps  []ThrottleDevice `json:"blkioWriteBps,omitempty"`
	BlkioDeviceWriteIOps []ThrottleDevice `json:"blkioWriteIOps,omitempty"`
	CgroupParent         string           `json:"cgroupParent,omitempty"`
	CPUPeriod            int64            `json:"cpuPeriod,omitempty"`
	CPUQuota             int64            `json:"cpuQuota,omitempty"`
	CPURealtimePeriod    int64            `json:"cpuRtPeriod,omitempty"`
	CPURealtimeRuntime   int64            `json:"cpuRtRuntime,omitempty"`
	CPUShares            int64            `json:"cpuShares,omitempty"`
	CpusetCpus           string           `json:"cpuset,omitempty"`
	MemorySwap           int64            `json:"memorySwap,omitempty"`
	MemorySwappiness     *int64           `json:"memorySwappiness,omitempty"`
	OomKillDisable       bool             `json:"oomKillDisable,omitempty"`
}

// WeightDevice is a block device's share of IO.
type WeightDevice struct {
	Path   string `json:"path"`
	Weight uint16 `json:"weight"`
}

// ThrottleDevice is a block device's limit, in bytes or operations a second.
type ThrottleDevice struct {
	Path string `json:"path"`
	Rate uint64 `json:"rate"`
}

// Hook is a command that runs inside the task's container: after it has started, or before its stop signal.
type Hook struct {
	Command    []string `json:"command"`
	User       string   `json:"user,omitempty"`
	Privileged bool     `json:"privileged,omitempty"`
	WorkingDir string   `json:"workingDir,omitempty"`
	Env        []string `json:"env,omitempty"`
}

// IsZero reports whether e adds nothing.
func (e Extra) IsZero() bool { return reflect.ValueOf(e).IsZero() }

// ToLabels writes e into labels, and removes an encoding that is there when e adds nothing.
func ToLabels(labels map[string]string, e Extra) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode label %s: %w", Label, err)
	}
	if string(b) == "{}" {
		delete(labels, Label)
		return nil
	}
	labels[Label] = string(b)
	return nil
}

// FromLabels reads the encoding; labels without one are the zero Extra. An unknown field is an error: running a
// container without a setting that its author asked for would be wrong.
func FromLabels(labels map[string]string) (Extra, error) {
	var e Extra
	v, ok := labels[Label]
	if !ok {
		return e, nil
	}
	d := json.NewDecoder(bytes.NewReader([]byte(v)))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return Extra{}, fmt.Errorf("decode label %s: %w", Label, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Extra{}, fmt.Errorf("decode label %s: text after the object", Label)
	}
	return e, nil
}
