package test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"orch/internal/admission"
	"orch/internal/bus"
	"orch/internal/store"
)

// recordWire writes what this version says and stores into testdata/wire/<its name>. A release records once; what is there
// is never changed.
var recordWire = flag.String("record-wire", "", "record the present wire format under this `NAME`")

// spoken is everything that one version of orch says to another or leaves for it on disk.
var spoken = map[string]func() any{
	"bus.Assignments": of[bus.Assignments], "bus.Session": of[bus.Session], "bus.Report": of[bus.Report], "bus.Reply": of[bus.Reply], "bus.Beat": of[bus.Beat],
	"bus.LogRequest": of[bus.LogRequest], "bus.LogChunk": of[bus.LogChunk],
	"admission.Request": of[admission.Request], "admission.Grant": of[admission.Grant], "admission.Renewal": of[admission.Renewal],
	"store.Cluster": of[store.Cluster], "store.Node": of[store.Node], "store.Service": of[store.Service], "store.Task": of[store.Task],
	"store.Network": of[store.Network], "store.Secret": of[store.Secret], "store.Config": of[store.Config],
}

func of[T any]() any { return new(T) }

// Managers and workers of two neighbouring versions run together, and each reads the other's state: what the previous
// version wrote is read whole, nothing of it renamed, retyped or dropped.
func TestTheWireFormatOfBeforeIsRead(t *testing.T) {
	if *recordWire != "" {
		record(t, filepath.Join("testdata", "wire", *recordWire))
	}
	versions, err := filepath.Glob(filepath.Join("testdata", "wire", "*"))
	if err != nil || len(versions) == 0 {
		t.Fatal("no version is on record: ", err)
	}
	for _, dir := range versions {
		for name, empty := range spoken {
			t.Run(filepath.Base(dir)+"/"+name, func(t *testing.T) {
				written, err := os.ReadFile(filepath.Join(dir, name+".json"))
				if os.IsNotExist(err) {
					t.Skip("that version did not have it")
				}
				if err != nil {
					t.Fatal(err)
				}
				read := empty()
				if err := json.Unmarshal(written, read); err != nil {
					t.Fatalf("what that version wrote is not read: %v", err)
				}
				again, err := json.Marshal(read)
				if err != nil {
					t.Fatal(err)
				}
				var before, after any
				if err := json.Unmarshal(written, &before); err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal(again, &after); err != nil {
					t.Fatal(err)
				}
				lost(t, "", before, after)
			})
		}
	}
}

// lost reports what before has and after has not, or has otherwise.
func lost(t *testing.T, path string, before, after any) {
	t.Helper()
	switch b := before.(type) {
	case map[string]any:
		a, ok := after.(map[string]any)
		if !ok {
			t.Errorf("%s is no object any more", path)
			return
		}
		for k, v := range b {
			if a[k] == nil && v != nil {
				t.Errorf("%s.%s is lost", path, k)
				continue
			}
			lost(t, path+"."+k, v, a[k])
		}
	case []any:
		a, ok := after.([]any)
		if !ok || len(a) != len(b) {
			t.Errorf("%s has other elements", path)
			return
		}
		for i := range b {
			lost(t, path+"[]", b[i], a[i])
		}
	default:
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%s was %v and is %v", path, before, after)
		}
	}
}

func record(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, empty := range spoken {
		v := empty()
		fill(reflect.ValueOf(v).Elem(), 0)
		raw, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".json"), append(bytes.TrimSpace(raw), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// deepest bounds types that hold themselves.
const deepest = 12

// fill gives every field a value that is not its zero, so that none is left out.
func fill(v reflect.Value, depth int) {
	if depth > deepest || !v.CanSet() {
		return
	}
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, depth+1)
		fill(value, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth+1)
		}
	}
}
