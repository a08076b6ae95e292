package store

import (
	"fmt"

	"github.com/docker/docker/api/types/swarm"
	"github.com/hashicorp/go-memdb"
)

const (
	indexID      = "id"
	indexName    = "name"
	indexService = "service"
	indexNode    = "node"
	indexNetwork = "network"
	indexWaiting = "waiting"
	prefix       = "_prefix" // memdb's suffix for a search by prefix

	waiting = "waiting" // the only value of indexWaiting
)

var schema = func() *memdb.DBSchema {
	s := &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{}}
	for _, kind := range Kinds {
		s.Tables[string(kind)] = &memdb.TableSchema{Name: string(kind), Indexes: map[string]*memdb.IndexSchema{
			indexID:   index(indexID, true, func(o Object) string { return o.id() }),
			indexName: index(indexName, false, searchName),
		}}
	}
	tasks := s.Tables[string(KindTask)].Indexes
	tasks[indexService] = index(indexService, false, func(o Object) string { return o.(*Task).ServiceID })
	tasks[indexNode] = index(indexNode, false, func(o Object) string { return o.(*Task).NodeID })
	tasks[indexWaiting] = index(indexWaiting, false, waitingTask)
	tasks[indexNetwork] = &memdb.IndexSchema{Name: indexNetwork, AllowMissing: true, Indexer: networksIndexer{}}
	return s
}()

func searchName(o Object) string {
	if n, ok := o.(*Node); ok {
		return n.Description.Hostname
	}
	return o.name()
}

// waitingTask tells the few tasks that have yet to be placed from the many that have.
func waitingTask(o Object) string {
	t := o.(*Task)
	if Rank(t.Status.State) < Rank(swarm.TaskStateAssigned) && Rank(t.DesiredState) <= Rank(swarm.TaskStateComplete) {
		return waiting
	}
	return ""
}

// networksIndexer indexes a task by every network that it has an attachment to.
type networksIndexer struct{}

func (networksIndexer) FromObject(raw any) (bool, [][]byte, error) {
	t := raw.(*Task)
	keys := make([][]byte, len(t.NetworksAttachments))
	for i, a := range t.NetworksAttachments {
		keys[i] = []byte(a.Network.ID + "\x00")
	}
	return len(keys) > 0, keys, nil
}

func (networksIndexer) FromArgs(args ...any) ([]byte, error) {
	return indexer(nil).FromArgs(args...)
}

func index(name string, unique bool, of func(Object) string) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, Unique: unique, AllowMissing: !unique, Indexer: indexer(of)}
}

// indexer indexes a string of an object. The zero byte at the end keeps "a"
// apart from "ab" where an exact match is asked for.
type indexer func(Object) string

func (of indexer) FromObject(raw any) (bool, []byte, error) {
	s := of(raw.(Object))
	return s != "", []byte(s + "\x00"), nil
}

func (of indexer) FromArgs(args ...any) ([]byte, error) {
	s, ok := args[0].(string)
	if !ok {
		return nil, fmt.Errorf("index argument %v is no string", args[0])
	}
	return []byte(s + "\x00"), nil
}

func (of indexer) PrefixFromArgs(args ...any) ([]byte, error) {
	b, err := of.FromArgs(args...)
	if err != nil {
		return nil, err
	}
	return b[:len(b)-1], nil
}
