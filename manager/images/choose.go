package images

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"

	"orch/internal/store"
	"orch/manager/scheduler"
)

// offer is a node that has an image.
type offer struct {
	node    *store.Node
	id      string
	name    string // what the node is asked for: the tag comes along where it means this image
	created time.Time
	os      string
	arch    string
}

// choose takes the node that needs the image if it has it by now, else one of those with the same: of a build the one with
// its ID, of several images of one name the newest. Any of them does; chance spreads the load.
func choose(want image, to *store.Node, offers []offer) (offer, error) {
	alien := ""
	fits := slices.DeleteFunc(slices.Clone(offers), func(o offer) bool {
		if runs(to, o) {
			return false
		}
		alien = fmt.Sprintf("node %s has it for %s/%s, and this node is %s/%s", hostname(o.node), o.os, o.arch,
			to.Description.Platform.OS, scheduler.Architecture(to.Description.Platform.Architecture))
		return true
	})
	switch {
	case len(fits) == 0 && alien != "":
		return offer{}, fmt.Errorf("no other node can give it: %s", alien)
	case len(fits) == 0:
		return offer{}, errors.New("no other node has it either")
	}
	if i := slices.IndexFunc(fits, func(o offer) bool { return o.node.ID == to.ID }); i >= 0 {
		return fits[i], nil
	}
	newest := slices.MaxFunc(fits, func(a, b offer) int {
		if c := a.created.Compare(b.created); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
	fits = slices.DeleteFunc(fits, func(o offer) bool { return o.id != newest.id })
	return fits[rand.IntN(len(fits))], nil
}

// runs says that a node's platform is the image's, or not known.
func runs(n *store.Node, o offer) bool {
	p := n.Description.Platform
	return (p.OS == "" || o.os == "" || p.OS == o.os) &&
		(p.Architecture == "" || o.arch == "" || scheduler.Architecture(p.Architecture) == scheduler.Architecture(o.arch))
}

// saveAs is what to ask a node for so that the image arrives with its name, if the name means this image there.
func saveAs(want image, tags []string) string {
	named, err := reference.ParseNormalizedNamed(want.ref)
	if err != nil {
		return want.String()
	}
	tag := reference.FamiliarString(reference.TagNameOnly(named))
	if slices.Contains(tags, tag) {
		return tag
	}
	return want.String()
}
