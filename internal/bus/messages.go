package bus

import (
	"time"

	"github.com/docker/docker/api/types/swarm"
)

// Assignments is what a worker should be running and everything it needs for
// it. The managers send the full set in answer to a session request and
// numbered increments after; a worker that misses a number, or sees another
// Epoch, asks again. Resources are keyed by ID: an upsert replaces.
type Assignments struct {
	// Cluster is the cluster's ID. A worker never empties itself on the word
	// of another cluster's manager.
	Cluster string
	// Epoch is the leadership that numbers this sequence.
	Epoch uint64
	// Seq counts messages to one node within the epoch, over all its sessions.
	Seq uint64
	// Full says that what is not named here is not assigned (any more).
	Full bool
	// Histories are the lives of the managers' state, in a full set: the last is the present one. Accepted says
	// that somebody has had the node take what this one says, whatever it ran before.
	Histories []string `json:",omitempty"`
	Accepted  bool     `json:",omitempty"`

	Tasks     []Task     `json:",omitempty"`
	Secrets   []Secret   `json:",omitempty"`
	Configs   []Config   `json:",omitempty"`
	Networks  []Network  `json:",omitempty"`
	Services  []Service  `json:",omitempty"`
	Removed   []Resource `json:",omitempty"`
	Heartbeat time.Duration
	// Role is what the node is to be, and Managers are the managers' first ports; "" and none where
	// nothing has changed.
	Role     swarm.NodeRole `json:",omitempty"`
	Managers []string       `json:",omitempty"`
}

// Resource names something that an increment takes away.
type Resource struct {
	Kind ResourceKind
	ID   string
}

// ResourceKind is the kind of a Resource.
type ResourceKind string

// The kinds of resources in an assignment set.
const (
	KindTask    ResourceKind = "task"
	KindSecret  ResourceKind = "secret"
	KindConfig  ResourceKind = "config"
	KindNetwork ResourceKind = "network"
	KindService ResourceKind = "service"
)

// Task is one task assigned to the worker. The embedded swarm.Task carries
// Spec, Slot, DesiredState, NetworksAttachments (allocated addresses) and so
// on; a task taken out of the set (Removed) is stopped and its container
// removed at once.
type Task struct {
	swarm.Task
	ServiceName   string
	ServiceLabels map[string]string `json:",omitempty"`
	// Name is the container's: service.slot.id, or service.nodeid.id for a
	// global service.
	Name string
	// Endpoint is the service's as this task was made for it: its ports.
	Endpoint *swarm.EndpointSpec `json:",omitempty"`
	// PullAuth is the X-Registry-Auth value the service was sent with.
	PullAuth string `json:",omitempty"`
}

// Secret is a secret in the clear; it only ever travels over the bus' TLS to a
// node that runs a task which uses it, and lives there in a tmpfs.
type Secret struct {
	ID         string
	Name       string
	Data       []byte
	Templating bool
}

// Config is a config's content.
type Config struct {
	ID         string
	Name       string
	Data       []byte
	Templating bool
}

// Network is an overlay (or ingress) network on which this node has a task.
type Network struct {
	ID         string
	Name       string
	Labels     map[string]string `json:",omitempty"`
	Options    map[string]string `json:",omitempty"`
	Subnet     string            // CIDR
	Gateway    string            // address, the same on every node
	Subnet6    string            `json:",omitempty"`
	Gateway6   string            `json:",omitempty"`
	NodeIP     string            // this node's own address on the network
	VNI        uint32
	MTU        int  `json:",omitempty"` // 0: derived from the underlay
	Internal   bool `json:",omitempty"`
	Attachable bool `json:",omitempty"`
	Ingress    bool `json:",omitempty"`
	Encrypted  bool `json:",omitempty"`
	// Encryption is how, on a network that is.
	Encryption *Encryption `json:",omitempty"`
	// Peers are the other nodes that have a task on it.
	Peers []Peer `json:",omitempty"`
}

// Peer is another node on a network.
type Peer struct {
	NodeID string
	// Underlay is the address VXLAN packets go to.
	Underlay string
	// NodeIP is that node's own address on the network.
	NodeIP string
	// WireGuard is its public key, if it has one.
	WireGuard string `json:",omitempty"`
}

// Encryption is how the traffic of encrypted networks travels between nodes.
type Encryption struct {
	// Mode is one of package crypt's, which every node of the cluster that can encrypt at all is able to; "" if there is none.
	Mode string
	// Keys are the cluster's, the oldest first. They go to nodes that have a task on such a network, and are kept in memory only.
	Keys []NetworkKey `json:",omitempty"`
}

// NetworkKey is one of them.
type NetworkKey struct {
	ID   uint64
	Data []byte `json:",omitempty"`
}

// Service is what names, VIPs and published ports on this node must lead to.
// A node is sent the services of the networks on which it has a task, and, for
// published ports in ingress mode, all services that publish.
type Service struct {
	ID   string
	Name string
	// Mode is vip or dnsrr.
	Mode swarm.ResolutionMode
	// VIPs by network ID, address without prefix length.
	VIPs map[string]string `json:",omitempty"`
	// Aliases by network ID, the service name not among them.
	Aliases map[string][]string `json:",omitempty"`
	// Ports published in ingress mode, with the allocated PublishedPort.
	Ports  []swarm.PortConfig `json:",omitempty"`
	Labels map[string]string  `json:",omitempty"` // orch.* only
	// Backends are the tasks in rotation: running (healthy) and desired so.
	Backends []Backend `json:",omitempty"`
	// Tasks are all tasks that have addresses, in rotation or not: they are
	// forwarding entries for VXLAN and reverse names, not backends.
	Tasks []Backend `json:",omitempty"`
}

// Backend is one task's addresses by network ID, without prefix length.
type Backend struct {
	TaskID string
	NodeID string
	Slot   int               `json:",omitempty"`
	Addrs  map[string]string `json:",omitempty"`
	// Addrs6 are the IPv6 ones, on the networks that have them.
	Addrs6 map[string]string `json:",omitempty"`
}

// Session is a worker's request for its full set.
type Session struct {
	Node        string
	Description swarm.NodeDescription
	// UsedSubnets are CIDRs routed on the node that are not orch's, for the
	// allocator to stay clear of.
	UsedSubnets []string `json:",omitempty"`
	// Address is where the node can be reached by others (VXLAN underlay).
	Address string
	// Conditions name what the node cannot do, for node inspect and the scheduler.
	Conditions []string `json:",omitempty"`
	// Encryption is how the node can encrypt overlay traffic, the fastest way first, and WireGuard its public key.
	Encryption []string `json:",omitempty"`
	WireGuard  string   `json:",omitempty"`
}

// Report carries status changes of tasks to the managers. An answer without an
// error means that they are stored.
type Report struct {
	Node     string
	Statuses []TaskStatus
	// Applied is the Seq of the last Assignments whose names, VIPs and ports
	// are in force on the node: the managers stop a task once every node has
	// confirmed that it is out of rotation.
	Applied uint64
	Epoch   uint64
}

// TaskStatus is one task's observed status.
type TaskStatus struct {
	TaskID string
	Status swarm.TaskStatus
	// Gone says that nothing of the task is left on the node.
	Gone bool `json:",omitempty"`
}

// Reply answers Report and Beat.
type Reply struct {
	// Seq is the last increment sent to this node, so that a lost last one is noticed.
	Seq   uint64
	Epoch uint64
	// Standing is what the node's certificate and trust are to be (package identity).
	Standing string `json:",omitempty"`
}

// Beat is a heartbeat.
type Beat struct {
	Node    string
	Applied uint64
	Epoch   uint64
}

// LogRequest asks a worker for the logs of one task's container. The worker
// answers with a stream of LogChunk, the last with EOF or Err, and never has more
// than a few on their way that have not been read.
type LogRequest struct {
	TaskID     string
	Stdout     bool
	Stderr     bool
	Follow     bool
	Since      string `json:",omitempty"`
	Until      string `json:",omitempty"`
	Tail       string `json:",omitempty"`
	Timestamps bool
	Details    bool
}

// LogChunk is a piece of a task's log: whole frames as dockerd sends them.
type LogChunk struct {
	Data []byte `json:",omitempty"`
	EOF  bool   `json:",omitempty"`
	Err  string `json:",omitempty"`
}
