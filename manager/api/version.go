package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/versions"
)

// MergeVersion answers with dockerd's version, orch named among its components:
// by that clients can tell that what Swarm lacks is there. An API newer than
// orch's half is not offered.
func MergeVersion(w http.ResponseWriter, r *http.Request, through http.Handler, version string) error {
	answer := ask(through, r)
	if answer.status != http.StatusOK {
		answer.copy(w)
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(answer.body.Bytes(), &fields); err != nil {
		return fmt.Errorf("read dockerd's /version: %w", err)
	}
	var components []json.RawMessage // as they came, for fields that this client does not know
	if raw, ok := fields["Components"]; ok {
		if err := json.Unmarshal(raw, &components); err != nil {
			return fmt.Errorf("read dockerd's components: %w", err)
		}
	}
	own, err := json.Marshal(types.ComponentVersion{Name: "orch", Version: version, Details: map[string]string{}})
	if err != nil {
		return err
	}
	if fields["Components"], err = json.Marshal(append(components, own)); err != nil {
		return err
	}
	var newest string
	if json.Unmarshal(fields["ApiVersion"], &newest) == nil && versions.GreaterThan(newest, NewestVersion) {
		fields["ApiVersion"] = json.RawMessage(`"` + NewestVersion + `"`)
	}
	return encode(w, http.StatusOK, fields)
}
