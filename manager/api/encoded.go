package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"orch/internal/store"
)

// encoded keeps the JSON of objects, by their version: encoding takes most of
// the time of a list, and clients that wait ask for the same ones many times a
// second.
type encoded struct {
	objects sync.Map // encodedKey to encodedObject
}

type encodedKey struct {
	kind store.Kind
	id   string
}

type encodedObject struct {
	index uint64
	body  []byte
}

func (e *encoded) of(kind store.Kind, id string, index uint64, v any) ([]byte, error) {
	key := encodedKey{kind: kind, id: id}
	if have, ok := e.objects.Load(key); ok && have.(encodedObject).index == index {
		return have.(encodedObject).body, nil
	}
	body := new(bytes.Buffer)
	enc := json.NewEncoder(body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", kind, id, err)
	}
	e.objects.Store(key, encodedObject{index: index, body: body.Bytes()})
	return body.Bytes(), nil
}

// forget drops a removed object. A request that still reads an older view may
// bring it back: that is one object's worth of memory, and rare.
func (e *encoded) forget(kind store.Kind, id string) {
	e.objects.Delete(encodedKey{kind: kind, id: id})
}

// writeList answers with a list of encoded objects; an empty one is [].
func writeList(w http.ResponseWriter, bodies [][]byte) {
	size := 3
	for _, b := range bodies {
		size += len(b)
	}
	list := make([]byte, 0, size)
	list = append(list, '[')
	for i, b := range bodies {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, bytes.TrimSuffix(b, []byte("\n"))...)
	}
	writeBody(w, http.StatusOK, append(list, ']', '\n'))
}
