package compose

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	dockertypes "github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/strategy"
)

// What can be asked of an update that is under way.
const (
	Promote = strategy.Promote
	Pause   = strategy.Pause
	Resume  = strategy.Resume
)

// Ask puts a request into a service's spec: orch's API does it instead of an update.
func Ask(spec *swarm.ServiceSpec, what string) {
	if spec.Labels == nil {
		spec.Labels = map[string]string{}
	}
	spec.Labels[strategy.LabelDo] = what
}

// IsOrch says whether a server is orch: Docker's own swarm mode would keep a request as an ordinary label.
func IsOrch(v dockertypes.Version) bool {
	for _, c := range v.Components {
		if c.Name == "orch" {
			return true
		}
	}
	return false
}

// held says that an update waits for somebody to promote it: nothing will change by waiting.
func held(u *swarm.UpdateStatus) bool {
	return u != nil && u.State == swarm.UpdateStateUpdating && strings.HasPrefix(u.Message, strategy.Held)
}

// extensionKeys are what x-orch can hold.
var extensionKeys = []string{"blue_green", "canary"}

// strategyLabels are the labels for x-orch's canary and blue_green:
//
//	x-orch:
//	  canary: 2                          # tasks, held until `orch promote`
//	  canary: {tasks: 2, hold: 10m}      # or for a time
//	  blue_green: true
func strategyLabels(s types.ServiceConfig) (map[string]string, error) {
	x, ok := s.Extensions["x-orch"].(map[string]any)
	if !ok {
		return nil, nil
	}
	if err := checkExtension(x); err != nil {
		return nil, err
	}
	labels := map[string]string{}
	switch c := x["canary"].(type) {
	case nil:
	case map[string]any:
		for key, v := range c {
			switch key {
			case "tasks":
				labels[strategy.LabelCanary] = fmt.Sprint(v)
			case "hold":
				labels[strategy.LabelHold] = fmt.Sprint(v)
			default:
				return nil, fmt.Errorf("x-orch.canary: unknown key %q: there are tasks and hold", key)
			}
		}
		if labels[strategy.LabelCanary] == "" {
			return nil, errors.New("x-orch.canary: tasks is missing: how many are updated first")
		}
	default:
		labels[strategy.LabelCanary] = fmt.Sprint(c)
	}
	if v, ok := x["blue_green"]; ok {
		on, isBool := v.(bool)
		if !isBool {
			return nil, fmt.Errorf("x-orch.blue_green: %v is neither true nor false", v)
		}
		if on {
			labels[strategy.LabelBlueGreen] = strconv.FormatBool(on)
		}
	}
	if _, err := strategy.Parse(labels); err != nil {
		return nil, fmt.Errorf("x-orch: %w", err)
	}
	if d := s.Deploy; d != nil && len(labels) > 0 && strings.HasSuffix(d.Mode, "-job") {
		return nil, fmt.Errorf("x-orch: a job is run again, not updated: it has neither canary nor blue_green")
	}
	return labels, nil
}
