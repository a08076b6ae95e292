package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/registry"
)

// hubKey is what `docker login` files Docker Hub's credentials under.
const hubKey = "https://index.docker.io/v1/"

// registryAuth is the X-Registry-Auth of an image from what `docker login` has stored in ~/.docker/config.json; "" if there is nothing.
func (a *app) registryAuth(image string) string {
	dir := a.env("DOCKER_CONFIG")
	if dir == "" {
		dir = filepath.Join(a.env("HOME"), ".docker")
	}
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return ""
	}
	return authFor(b, image)
}

func authFor(config []byte, image string) string {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	var file struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			IdentityToken string `json:"identitytoken"`
		} `json:"auths"`
	}
	if json.Unmarshal(config, &file) != nil {
		return ""
	}
	domain := reference.Domain(ref)
	key := domain
	if domain == "docker.io" {
		key = hubKey
	}
	entry, ok := file.Auths[key]
	if !ok {
		return ""
	}
	plain, err := base64.StdEncoding.DecodeString(entry.Auth)
	if err != nil {
		return ""
	}
	user, password, _ := strings.Cut(string(plain), ":")
	encoded, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: user, Password: password, IdentityToken: entry.IdentityToken, ServerAddress: key})
	if err != nil {
		return ""
	}
	return encoded
}
