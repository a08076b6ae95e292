package store

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/swarm"
)

// Kind names a kind of object, as it stands in log keys.
type Kind string

// The kinds of objects.
const (
	KindCluster Kind = "cluster"
	KindNode    Kind = "node"
	KindService Kind = "service"
	KindTask    Kind = "task"
	KindNetwork Kind = "network"
	KindSecret  Kind = "secret"
	KindConfig  Kind = "config"
)

// Kinds lists every kind, in the order in which a transaction that has to be
// split writes them: what others refer to comes first.
var Kinds = []Kind{KindCluster, KindNode, KindNetwork, KindSecret, KindConfig, KindService, KindTask}

// Object is one of the pointer types below.
type Object interface {
	kind() Kind
	id() string
	// name is the one that must be unique within the kind, or "".
	name() string
	meta() *swarm.Meta
	// clone is a shallow copy: enough, as nobody writes through an object.
	clone() Object
}

// Cluster is the cluster itself: there is one.
type Cluster struct {
	swarm.ClusterInfo
	JoinTokens swarm.JoinTokens
	// CAKey and DataKey are the CA's private key and the key that secrets are
	// sealed with, themselves sealed (package identity).
	CAKey   []byte `json:",omitempty"`
	DataKey []byte `json:",omitempty"`
	// Histories are the lives of the stream: one from the founding on, and another from each time that the cluster was
	// restored. Sequences are comparable within one only.
	Histories []string `json:",omitempty"`
	// Rotation is the CA that is taking over, while one is.
	Rotation *Rotation `json:",omitempty"`
	// Removed are nodes whose certificates are no longer accepted.
	Removed []string `json:",omitempty"`
	// UnlockKey is set while autolock is on: the key that users keep, sealed.
	UnlockKey []byte `json:",omitempty"`
	// NextSubnet and NextVXLAN are where the search for a new network's goes on:
	// those of a removed one rest, as nodes may still be taking it down.
	NextSubnet string `json:",omitempty"`
	NextVXLAN  uint32 `json:",omitempty"`
	// NetworkKeys are what the traffic of encrypted networks is encrypted with, the oldest first.
	NetworkKeys []NetworkKey `json:",omitempty"`
}

// NetworkKey is one of the keys for the traffic between nodes.
type NetworkKey struct {
	ID     uint64
	Made   time.Time
	Sealed []byte
}

// AcceptLabel on a node names the life of the state whose word the node is to take even where that ends everything that runs
// there. Clients write AcceptPresent, which becomes the present one.
const (
	AcceptLabel   = "orch.accept"
	AcceptPresent = "present"
)

// Present is the present life of the stream, "" in a cluster from before there were any.
func (c *Cluster) Present() string {
	if len(c.Histories) == 0 {
		return ""
	}
	return c.Histories[len(c.Histories)-1]
}

// Rotation is a change of the CA under way: nodes get certificates from the new one, and
// trust both, until all of them do.
type Rotation struct {
	// Cert is the new CA's certificate and Cross its key's, made by the CA before; PEM.
	Cert, Cross string
	// Key is the new CA's, sealed.
	Key []byte
}

// Node is a machine of the cluster.
type Node struct {
	swarm.Node
	// UsedSubnets are CIDRs routed on the node which the allocator stays clear of.
	UsedSubnets []string `json:",omitempty"`
	// Conditions say in words what the node cannot do.
	Conditions []string `json:",omitempty"`
	// Encryption is how the node can encrypt overlay traffic, WireGuard its public key.
	Encryption []string `json:",omitempty"`
	WireGuard  string   `json:",omitempty"`
	// NetworkAddrs are the node's own addresses, by network ID.
	NetworkAddrs map[string]string `json:",omitempty"`
	// Server is the name of the node's manager in the managers' consensus, from before it joins
	// until it is removed; ManagerStatus is set while it is counted on.
	Server string `json:",omitempty"`
	// DownAt is when Status.State became down, by the managers' clock: a task
	// that has not been heard of for long enough is given up.
	DownAt time.Time `json:",omitzero"`
}

// Service is a service.
type Service struct {
	swarm.Service
	// SpecVersion counts changes of Spec from 1, so that a task can say which
	// one it was made from.
	SpecVersion uint64 `json:",omitempty"`
	// PreviousSpecVersion is PreviousSpec's.
	PreviousSpecVersion uint64 `json:",omitempty"`
	// PullAuth is the X-Registry-Auth that came with the spec, sealed.
	PullAuth         []byte `json:",omitempty"`
	PreviousPullAuth []byte `json:",omitempty"`
	// Rollout is the latest rolling update's progress.
	Rollout *Rollout `json:",omitempty"`
}

// Rollout is how far a rolling update, the one that UpdateStatus tells of, has
// come: what the next leader cannot see from the tasks.
type Rollout struct {
	// SpecVersion is the spec that is being rolled out.
	SpecVersion uint64
	// Slots is how many were out of date at the start: failures are counted
	// against them.
	Slots int
	// Failed are the tasks whose end counts as a failure of the update.
	Failed []string `json:",omitempty"`
	// Promoted says that the canary has been held for long enough, or that
	// somebody said so.
	Promoted bool `json:",omitempty"`
	// SwitchedAt is when a blue-green update let the new tasks take over.
	SwitchedAt time.Time `json:",omitzero"`
	// Over says that the update has ended as completed.
	Over bool `json:",omitempty"`
}

// Task is one attempt at running one slot of a service.
type Task struct {
	swarm.Task
	// ServiceName and ServiceLabels are the service's when the task was made:
	// names and filters outlive the service by them.
	ServiceName   string            `json:",omitempty"`
	ServiceLabels map[string]string `json:",omitempty"`
	SpecVersion   uint64            `json:",omitempty"`
	// Endpoint is the service's endpoint spec when the task was made.
	Endpoint *swarm.EndpointSpec `json:",omitempty"`
	PullAuth []byte              `json:",omitempty"`
	// Replaces is the task whose end this one, desired ready, waits for.
	Replaces string `json:",omitempty"`
	// StartAt is when the restart delay of a task desired ready is over.
	StartAt time.Time `json:",omitzero"`
	// Rolled says that a rolling update made the task, to SpecVersion: how it
	// fares decides how the update goes on.
	Rolled bool `json:",omitempty"`
	// Standby says that nothing is to lead to the task though it runs: it
	// waits for its turn in a blue-green update, or has had it.
	Standby bool `json:",omitempty"`
	// Moving says that the task is to go on on another node, to even the cluster out.
	Moving bool `json:",omitempty"`
	// AppliedAt is when the managers took in Status.State, and RunningAt when
	// they took in that the task runs. Both are the managers' clock, while
	// Status.Timestamp is the worker's.
	AppliedAt time.Time `json:",omitzero"`
	RunningAt time.Time `json:",omitzero"`
	// Failures are the latest failures in the slot with the task's spec, so
	// that they count longer than the tasks that failed are kept.
	Failures []Failure `json:",omitempty"`
}

// Failure is a task's that failed on a node.
type Failure struct {
	Node string
	At   time.Time
}

// Network is a network of the cluster.
type Network struct {
	swarm.Network
	// NextAddr is where the search for a free address goes on: an address that
	// was given back rests until all others have had their turn.
	NextAddr string `json:",omitempty"`
	// NextAddr6 is the same for IPv6.
	NextAddr6 string `json:",omitempty"`
}

// Secret is a secret; its Spec.Data is always empty.
type Secret struct {
	swarm.Secret
	// Sealed is the data under the cluster's data key.
	Sealed []byte
}

// Config is a config, Spec.Data included.
type Config struct {
	swarm.Config
}

func (*Cluster) kind() Kind { return KindCluster }
func (*Node) kind() Kind    { return KindNode }
func (*Service) kind() Kind { return KindService }
func (*Task) kind() Kind    { return KindTask }
func (*Network) kind() Kind { return KindNetwork }
func (*Secret) kind() Kind  { return KindSecret }
func (*Config) kind() Kind  { return KindConfig }

func (o *Cluster) id() string { return o.ID }
func (o *Node) id() string    { return o.ID }
func (o *Service) id() string { return o.ID }
func (o *Task) id() string    { return o.ID }
func (o *Network) id() string { return o.ID }
func (o *Secret) id() string  { return o.ID }
func (o *Config) id() string  { return o.ID }

func (o *Cluster) name() string { return o.Spec.Name }
func (o *Node) name() string    { return "" } // hostnames may repeat
func (o *Service) name() string { return o.Spec.Name }
func (o *Task) name() string    { return "" }
func (o *Network) name() string { return o.Spec.Name }
func (o *Secret) name() string  { return o.Spec.Name }
func (o *Config) name() string  { return o.Spec.Name }

func (o *Cluster) meta() *swarm.Meta { return &o.Meta }
func (o *Node) meta() *swarm.Meta    { return &o.Meta }
func (o *Service) meta() *swarm.Meta { return &o.Meta }
func (o *Task) meta() *swarm.Meta    { return &o.Meta }
func (o *Network) meta() *swarm.Meta { return &o.Meta }
func (o *Secret) meta() *swarm.Meta  { return &o.Meta }
func (o *Config) meta() *swarm.Meta  { return &o.Meta }

func (o *Cluster) clone() Object { c := *o; return &c }
func (o *Node) clone() Object    { c := *o; return &c }
func (o *Service) clone() Object { c := *o; return &c }
func (o *Task) clone() Object    { c := *o; return &c }
func (o *Network) clone() Object { c := *o; return &c }
func (o *Secret) clone() Object  { c := *o; return &c }
func (o *Config) clone() Object  { c := *o; return &c }

// decode reads an object from the log; its version is the entry's sequence.
func decode(kind Kind, value []byte, seq uint64) (Object, error) {
	var o Object
	switch kind {
	case KindCluster:
		o = new(Cluster)
	case KindNode:
		o = new(Node)
	case KindService:
		o = new(Service)
	case KindTask:
		o = new(Task)
	case KindNetwork:
		o = new(Network)
	case KindSecret:
		o = new(Secret)
	case KindConfig:
		o = new(Config)
	default:
		return nil, fmt.Errorf("unknown kind %q", kind)
	}
	if err := json.Unmarshal(value, o); err != nil {
		return nil, err
	}
	o.meta().Version.Index = seq
	return o, nil
}
