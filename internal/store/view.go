package store

import (
	"github.com/hashicorp/go-memdb"
)

// View is an immutable view of the whole state. It is cheap to take and valid
// for ever, for one goroutine.
type View struct {
	db  *memdb.MemDB // a snapshot of its own
	txn *memdb.Txn
	seq uint64
}

func newView(db *memdb.MemDB, seq uint64) *View {
	snapshot := db.Snapshot()
	return &View{db: snapshot, txn: snapshot.Txn(false), seq: seq}
}

// Seq is the log sequence that the view has reached.
func (v *View) Seq() uint64 { return v.seq }

// By selects objects of a kind through an index.
type By struct {
	index string
	args  []any
}

// All selects every object of the kind.
func All() By { return By{index: indexID + prefix, args: []any{""}} }

// IDPrefix selects by the beginning of the ID.
func IDPrefix(p string) By { return By{index: indexID + prefix, args: []any{p}} }

// Name selects by exact name (of a node: its host name).
func Name(n string) By { return By{index: indexName, args: []any{n}} }

// NamePrefix selects by the beginning of the name.
func NamePrefix(p string) By { return By{index: indexName + prefix, args: []any{p}} }

// OfService selects tasks by service ID.
func OfService(id string) By { return By{index: indexService, args: []any{id}} }

// OnNode selects tasks by node ID.
func OnNode(id string) By { return By{index: indexNode, args: []any{id}} }

// OnNetwork selects tasks by the ID of a network that they are attached to.
func OnNetwork(id string) By { return By{index: indexNetwork, args: []any{id}} }

// Waiting selects the tasks that are wanted and have yet to be allocated or
// assigned to a node.
func Waiting() By { return By{index: indexWaiting, args: []any{waiting}} }

// Cluster is the cluster, or nil before there is one.
func (v *View) Cluster() *Cluster {
	if all := list[*Cluster](v, KindCluster, All()); len(all) > 0 {
		return all[0]
	}
	return nil
}

// Node is the node with this ID, or nil.
func (v *View) Node(id string) *Node { return get[*Node](v, KindNode, id) }

// Service is the service with this ID, or nil.
func (v *View) Service(id string) *Service { return get[*Service](v, KindService, id) }

// Task is the task with this ID, or nil.
func (v *View) Task(id string) *Task { return get[*Task](v, KindTask, id) }

// Network is the network with this ID, or nil.
func (v *View) Network(id string) *Network { return get[*Network](v, KindNetwork, id) }

// Secret is the secret with this ID, or nil.
func (v *View) Secret(id string) *Secret { return get[*Secret](v, KindSecret, id) }

// Config is the config with this ID, or nil.
func (v *View) Config(id string) *Config { return get[*Config](v, KindConfig, id) }

// Nodes lists nodes ordered by the index (All: by ID), as do those below.
func (v *View) Nodes(by By) []*Node { return list[*Node](v, KindNode, by) }

// Services lists services.
func (v *View) Services(by By) []*Service { return list[*Service](v, KindService, by) }

// Tasks lists tasks.
func (v *View) Tasks(by By) []*Task { return list[*Task](v, KindTask, by) }

// Networks lists networks.
func (v *View) Networks(by By) []*Network { return list[*Network](v, KindNetwork, by) }

// Secrets lists secrets.
func (v *View) Secrets(by By) []*Secret { return list[*Secret](v, KindSecret, by) }

// Configs lists configs.
func (v *View) Configs(by By) []*Config { return list[*Config](v, KindConfig, by) }

func get[T Object](v *View, kind Kind, id string) (none T) {
	o, err := v.txn.First(string(kind), indexID, id)
	if err != nil {
		panic(err) // an unknown table or index: a mistake in this package
	}
	if o == nil {
		return none
	}
	return o.(T)
}

func list[T Object](v *View, kind Kind, by By) []T {
	it, err := v.txn.Get(string(kind), by.index, by.args...)
	if err != nil {
		panic(err) // a By that the kind has no index for: a mistake of the caller
	}
	all := []T{}
	for o := it.Next(); o != nil; o = it.Next() {
		all = append(all, o.(T))
	}
	return all
}

// ManagerAddrs are the first ports of the managers that are counted on.
func ManagerAddrs(v *View) []string {
	var addrs []string
	for _, n := range v.Nodes(All()) {
		if n.ManagerStatus != nil && n.ManagerStatus.Addr != "" {
			addrs = append(addrs, n.ManagerStatus.Addr)
		}
	}
	return addrs
}
