package scheduler

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"orch/internal/store"
)

// Constraints are placement constraints; a node must satisfy them all.
type Constraints []constraint

// constraint is key==value, or key!=value.
type constraint struct {
	key    string
	negate bool
	value  string
}

// The forms of keys and values that Swarm takes.
var (
	keyForm   = regexp.MustCompile(`^(?i)[a-z_][a-z0-9\-_.]+$`)
	valueForm = regexp.MustCompile(`^(?i)[a-z0-9:\-_\s.*()?+\[\]\\^$|/]+$`)
)

const (
	nodeLabels   = "node.labels."
	engineLabels = "engine.labels."
)

// ParseConstraints reads constraints as they stand in a spec. Its errors are Swarm's.
func ParseConstraints(list []string) (Constraints, error) {
	all := make(Constraints, 0, len(list))
	for _, expr := range list {
		c, err := parseConstraint(expr)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func parseConstraint(expr string) (constraint, error) {
	key, value, found := strings.Cut(expr, "==")
	negate := false
	if !found {
		if key, value, found = strings.Cut(expr, "!="); !found {
			return constraint{}, fmt.Errorf("constraint expected one operator from ==, !=")
		}
		negate = true
	}
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !keyForm.MatchString(key) {
		return constraint{}, fmt.Errorf("key '%s' is invalid", key)
	}
	if !valueForm.MatchString(value) {
		return constraint{}, fmt.Errorf("value '%s' is invalid", value)
	}
	return constraint{key: key, negate: negate, value: value}, nil
}

// Match says whether a node satisfies every constraint.
func (cs Constraints) Match(n *store.Node) bool {
	for _, c := range cs {
		if !c.match(n) {
			return false
		}
	}
	return true
}

func (c constraint) match(n *store.Node) bool {
	key := strings.ToLower(c.key)
	switch {
	case key == "node.id":
		return c.is(n.ID)
	case key == "node.hostname":
		return c.is(n.Description.Hostname)
	case key == "node.ip":
		return c.isAddress(n.Status.Addr)
	case key == "node.role":
		return c.is(string(n.Spec.Role))
	case key == "node.platform.os":
		return c.is(n.Description.Platform.OS)
	case key == "node.platform.arch":
		return c.is(n.Description.Platform.Architecture)
	case strings.HasPrefix(key, nodeLabels) && len(key) > len(nodeLabels):
		return c.is(n.Spec.Labels[c.key[len(nodeLabels):]]) // the label itself keeps its case
	case strings.HasPrefix(key, engineLabels) && len(key) > len(engineLabels):
		return c.is(n.Description.Engine.Labels[c.key[len(engineLabels):]])
	default:
		return false // an unknown key matches nothing, negated or not
	}
}

func (c constraint) is(value string) bool {
	return strings.EqualFold(c.value, value) != c.negate
}

// isAddress compares with an address or a network; a malformed one matches nothing.
func (c constraint) isAddress(addr string) bool {
	node, _ := netip.ParseAddr(addr) // none: in no network
	if ip, err := netip.ParseAddr(c.value); err == nil {
		return (ip.Unmap() == node.Unmap()) != c.negate
	}
	if subnet, err := netip.ParsePrefix(c.value); err == nil {
		return subnet.Masked().Contains(node.Unmap()) != c.negate
	}
	return false
}
