package compose

import (
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

// maxRelated bounds the files that are looked through for the place of an error.
const maxRelated = 200

// related are the files that others take in by include and extends, so that what is wrong in them can be placed. It is read again
// here, and only for that: one that cannot be read was an error of the loader's.
func related(files []types.ConfigFile) []types.ConfigFile {
	seen := map[string]bool{}
	for _, f := range files {
		seen[f.Filename] = true
	}
	var found []types.ConfigFile
	for queue := files; len(queue) > 0 && len(found) < maxRelated; queue = queue[1:] {
		var doc yaml.Node
		if yaml.Unmarshal(queue[0].Content, &doc) != nil || len(doc.Content) == 0 {
			continue
		}
		for _, path := range mentioned(doc.Content[0]) {
			if !filepath.IsAbs(path) {
				path = filepath.Join(filepath.Dir(queue[0].Filename), path)
			}
			if info, err := os.Stat(path); seen[path] || err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
				continue
			}
			seen[path] = true
			if content, err := os.ReadFile(path); err == nil {
				f := types.ConfigFile{Filename: path, Content: content}
				found, queue = append(found, f), append(queue[:len(queue):len(queue)], f)
			}
		}
	}
	return found
}

// mentioned are the paths of a file's include and of its services' extends.
func mentioned(root *yaml.Node) (paths []string) {
	add := func(n *yaml.Node) {
		switch {
		case n == nil:
		case n.Kind == yaml.ScalarNode:
			paths = append(paths, n.Value)
		case n.Kind == yaml.SequenceNode:
			for _, item := range n.Content {
				if item.Kind == yaml.ScalarNode {
					paths = append(paths, item.Value)
				}
			}
		}
	}
	if include := member(root, "include"); include != nil {
		for _, item := range include.Content {
			if add(member(item, "path")); item.Kind == yaml.ScalarNode {
				add(item)
			}
		}
	}
	if services := member(root, "services"); services != nil {
		for _, service := range services.Content {
			add(member(member(service, "extends"), "file"))
		}
	}
	return paths
}

// member is the value of a key of a mapping; nil if there is none.
func member(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
