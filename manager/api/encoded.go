package api

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"sync"

	"orch/internal/store"
)

// encoded keeps the JSON of objects, by their version: encoding takes most of
// the time of a list, and clients that wait ask for the same ones many times a
// second.
type encoded struct {
	// mu guards objects. A map by itself costs a list of thousands less than a
	// sync.Map, whose keys are allocated for every look.
	mu      sync.RWMutex
	objects map[encodedKey]encodedObject
}

type encodedKey struct {
	kind store.Kind
	id   string
}

type encodedObject struct {
	index uint64
	// version is the API's that body is written for: the engine may be upgraded.
	version string
	body    []byte
}

func (e *encoded) of(engine Engine, kind store.Kind, id string, index uint64, v any) ([]byte, error) {
	key := encodedKey{kind: kind, id: id}
	e.mu.RLock()
	have, ok := e.objects[key]
	e.mu.RUnlock()
	if ok && have.index == index && have.version == engine.APIVersion {
		return have.body, nil
	}
	body, err := marshal(engine, v)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", kind, id, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.objects == nil {
		e.objects = map[encodedKey]encodedObject{}
	}
	e.objects[key] = encodedObject{index: index, version: engine.APIVersion, body: body}
	return body, nil
}

// forget drops a removed object. A request that still reads an older view may
// bring it back: that is one object's worth of memory, and rare.
func (e *encoded) forget(kind store.Kind, id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.objects, encodedKey{kind: kind, id: id})
}

// listBuffer is what a list is written in: enough that a long one takes few
// writes, and never the whole of it in memory once more.
const listBuffer = 64 << 10

// writeList answers with a list of encoded objects; an empty one is [].
func writeList(w http.ResponseWriter, bodies [][]byte) {
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(w, listBuffer)
	// A client that has gone is no error of ours, here as in writeBody.
	_ = out.WriteByte('[')
	for i, b := range bodies {
		if i > 0 {
			_ = out.WriteByte(',')
		}
		_, _ = out.Write(bytes.TrimSuffix(b, []byte("\n")))
	}
	_, _ = out.WriteString("]\n")
	_ = out.Flush()
}
