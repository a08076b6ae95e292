package api

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/docker/docker/api/types"
)

func TestVersionNamesOrchAndOffersNoAPIThatItLacks(t *testing.T) {
	dockerd := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Version":"29.0.0","ApiVersion":"1.52","Components":[{"Name":"Engine","Version":"29.0.0","New":1}],"Extra":true}`)
	})
	w := httptest.NewRecorder()
	if err := MergeVersion(w, httptest.NewRequest(http.MethodGet, "/version", nil), dockerd, "v1"); err != nil {
		t.Fatal(err)
	}
	var got types.Version
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.APIVersion != NewestVersion || got.Version != "29.0.0" || len(got.Components) != 2 || got.Components[1].Name != "orch" || got.Components[1].Version != "v1" {
		t.Errorf("version: %s", w.Body)
	}
	var raw map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &raw); err != nil || raw["Extra"] != true || raw["Components"].([]any)[0].(map[string]any)["New"] != 1.0 {
		t.Errorf("what is dockerd's was lost: %s", w.Body)
	}
}
