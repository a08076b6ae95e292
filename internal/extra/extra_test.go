package extra

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func ptr[T any](v T) *T { return &v }

var full = Extra{
	Annotations: map[string]string{"a": "b"}, Domainname: "example.org", MacAddress: "02:00:00:00:00:01", Privileged: true, Runtime: "runsc",
	SecurityOpt: []string{"systempaths=unconfined"}, StorageOpt: map[string]string{"size": "1G"},
	CgroupnsMode: "host", IpcMode: "host", NetworkMode: "none", PidMode: "host", UsernsMode: "host", UTSMode: "host",
	Devices:           []container.DeviceMapping{{PathOnHost: "/dev/fuse", PathInContainer: "/dev/fuse", CgroupPermissions: "rwm"}},
	DeviceCgroupRules: []string{"c 1:3 mr"},
	DeviceRequests:    []container.DeviceRequest{{Driver: "nvidia", Count: -1, Capabilities: [][]string{{"gpu"}}}},
	Resources: Resources{
		BlkioWeight: 300, BlkioWeightDevice: []WeightDevice{{Path: "/dev/sda", Weight: 400}},
		BlkioDeviceReadBps: []ThrottleDevice{{Path: "/dev/sda", Rate: 1 << 20}}, BlkioDeviceReadIOps: []ThrottleDevice{{Path: "/dev/sda", Rate: 120}},
		BlkioDeviceWriteBps: []ThrottleDevice{{Path: "/dev/sda", Rate: 1}}, BlkioDeviceWriteIOps: []ThrottleDevice{{Path: "/dev/sda", Rate: 2}},
		CgroupParent: "/p", CPUPeriod: 1, CPUQuota: 2, CPURealtimePeriod: 3, CPURealtimeRuntime: 4, CPUShares: 5, CpusetCpus: "0-1",
		MemorySwap: -1, MemorySwappiness: ptr(int64(0)), OomKillDisable: true,
	},
	PullPolicy: "refresh", PullAfter: time.Hour, ImageID: "sha256:1",
	PostStart: []Hook{{Command: []string{"/warm"}, User: "1", Privileged: true, WorkingDir: "/w", Env: []string{"A=b"}}},
	PreStop:   []Hook{{Command: []string{"/drain"}}},
}

func TestLabelsRoundTrip(t *testing.T) {
	for name, e := range map[string]Extra{"full": full, "one": {Privileged: true}, "nested": {Resources: Resources{CPUShares: 1}}} {
		labels := map[string]string{"keep": "me"}
		if err := ToLabels(labels, e); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := FromLabels(labels)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(e, got); d != "" || labels["keep"] != "me" {
			t.Errorf("%s: round trip changed the value (-want +got):\n%s", name, d)
		}
	}
}

func TestZeroLeavesNoLabel(t *testing.T) {
	labels := map[string]string{Label: `{"privileged":true}`}
	if err := ToLabels(labels, Extra{}); err != nil {
		t.Fatal(err)
	}
	if len(labels) != 0 {
		t.Errorf("labels = %v, want none", labels)
	}
	if !(Extra{}).IsZero() || full.IsZero() {
		t.Error("IsZero is wrong")
	}
	if e, err := FromLabels(nil); err != nil || !e.IsZero() {
		t.Errorf("FromLabels(nil) = %+v, %v", e, err)
	}
}

func TestFromLabelsRefuses(t *testing.T) {
	for _, v := range []string{"", "x", "[]", `{"privilegd":true}`, `{} {}`, `{"devices":1}`} {
		if _, err := FromLabels(map[string]string{Label: v}); err == nil {
			t.Errorf("%q was accepted", v)
		}
	}
}

// TestApplySetsEverything holds Apply to the struct: a field that reaches neither Config nor HostConfig is a setting
// dropped in silence.
func TestApplySetsEverything(t *testing.T) {
	var c container.Config
	h := container.HostConfig{SecurityOpt: []string{"no-new-privileges"}, Resources: container.Resources{Memory: 7}}
	full.Apply(&c, &h)
	//lint:ignore SA1019 see Apply
	if c.Domainname != "example.org" || c.MacAddress != full.MacAddress {
		t.Errorf("config = %+v", c)
	}
	want := container.HostConfig{
		Annotations: full.Annotations, Privileged: true, Runtime: "runsc", StorageOpt: full.StorageOpt,
		SecurityOpt:  []string{"no-new-privileges", "systempaths=unconfined"},
		CgroupnsMode: "host", IpcMode: "host", NetworkMode: "none", PidMode: "host", UsernsMode: "host", UTSMode: "host",
		Resources: container.Resources{
			Memory: 7, Devices: full.Devices, DeviceCgroupRules: full.DeviceCgroupRules, DeviceRequests: full.DeviceRequests,
			BlkioWeight: 300, CgroupParent: "/p", CPUPeriod: 1, CPUQuota: 2, CPURealtimePeriod: 3, CPURealtimeRuntime: 4, CPUShares: 5,
			CpusetCpus: "0-1", MemorySwap: -1, MemorySwappiness: ptr(int64(0)), OomKillDisable: ptr(true),
		},
	}
	blkio := cmpopts.IgnoreFields(container.Resources{}, "BlkioWeightDevice", "BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps")
	if d := cmp.Diff(want, h, blkio); d != "" {
		t.Errorf("host config (-want +got):\n%s", d)
	}
	if len(h.BlkioWeightDevice) != 1 || len(h.BlkioDeviceReadBps) != 1 || len(h.BlkioDeviceReadIOps) != 1 || len(h.BlkioDeviceWriteBps) != 1 || h.BlkioDeviceWriteIOps[0].Rate != 2 {
		t.Errorf("blkio = %+v", h.Resources)
	}
}

func FuzzFromLabels(f *testing.F) {
	f.Add(`{"privileged":true}`)
	f.Add(`{"resources":{"memorySwappiness":0},"devices":[{}]}`)
	f.Fuzz(func(t *testing.T, v string) {
		e, err := FromLabels(map[string]string{Label: v})
		if err != nil {
			return
		}
		labels := map[string]string{}
		if err := ToLabels(labels, e); err != nil {
			t.Fatal(err)
		}
		again, err := FromLabels(labels)
		if err != nil {
			t.Fatalf("own encoding %q refused: %v", labels[Label], err)
		}
		if d := cmp.Diff(e, again, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}
