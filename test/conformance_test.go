package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"orch/test/lab"
)

// conversation is what the stock docker CLI is asked, line by line; answers, errors and exit codes have to be the same from
// swarm mode and from orch. Lines run in a shell, so they can be piped.
const conversation = `
docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.Swarm.Nodes}} {{.Swarm.Managers}}'
docker node ls --format '{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}} {{.Self}}'
docker node inspect self --format '{{json .Spec}} {{.Status.State}} {{.ManagerStatus.Leader}}'
docker node update --label-add zone=a NODE
docker node inspect self --format '{{json .Spec.Labels}}'
docker node update --availability bogus NODE
docker node demote NODE
docker node rm NODE
docker node inspect nope
docker swarm init
docker swarm join-token -q worker | cut -c1-9
docker swarm update --task-history-limit 3
docker info --format '{{.Swarm.Cluster.Spec.Orchestration.TaskHistoryRetentionLimit}}'

docker service create -q --name web --replicas 2 --no-resolve-image IMAGE
docker service ls --format '{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}}'
docker service ps web --format '{{.Name}} {{.Image}} {{.DesiredState}}' | sort
docker service inspect web --format '{{json .Spec}}'
docker service create -d -q --name web --no-resolve-image IMAGE
docker service create -d -q --name bad_name. --no-resolve-image IMAGE
docker service create -d -q --name nocpu --no-resolve-image --limit-cpu 0.0001 IMAGE
docker service create -d -q --name where --no-resolve-image --constraint node.labels.zone IMAGE
docker service create -d -q --name tight --no-resolve-image --reserve-cpu 0.1 --update-order start-first --update-delay 1s --restart-max-attempts 2 IMAGE
docker service inspect tight --format '{{json .Spec.TaskTemplate.Resources}} {{json .Spec.UpdateConfig}} {{json .Spec.TaskTemplate.RestartPolicy}}'
docker service scale -d web=3
docker service update -q --env-add A=1 web
docker service inspect web --format '{{.PreviousSpec.Mode.Replicated.Replicas}} {{json .Spec.TaskTemplate.ContainerSpec.Env}}'
docker service rollback -d -q web
docker service inspect web --format '{{json .Spec.TaskTemplate.ContainerSpec.Env}}'
docker service rollback -q tight
docker service create -d -q --name everywhere --mode global --no-resolve-image IMAGE
docker service scale -d everywhere=2
docker service ls --format '{{.Name}} {{.Mode}} {{.Replicas}}' --filter mode=global
docker service ps everywhere --format '{{.Name}} {{.DesiredState}}'
docker service inspect nope
docker service ps nope
docker service logs nope
docker service rm nope

docker service create -d -q --name one --no-resolve-image -p 18080:80 IMAGE
docker service create -d -q --name two --no-resolve-image -p 18080:81 IMAGE
docker service inspect one --format '{{json .Endpoint.Ports}}'

echo hush | docker secret create s1 -
echo hush | docker secret create s1 -
echo hush | docker secret create 'bad name' -
docker secret create empty /dev/null
docker secret inspect s1 --format '{{.Spec.Name}} {{.Spec.Data}}'
docker service create -d -q --name keeper --no-resolve-image --secret s1 IMAGE
docker secret rm s1
docker secret ls --format '{{.Name}}'
echo plain | docker config create c1 -
docker config inspect c1 --format '{{json .Spec}}'
docker config rm c1
docker config rm c1

docker network create -q -d overlay back
docker network create -q -d overlay back
docker network ls --filter scope=swarm --format '{{.Name}} {{.Driver}} {{.Scope}}' | sort
docker network inspect back --format '{{.Driver}} {{.Scope}} {{.Attachable}} {{len .IPAM.Config}}'
docker service create -d -q --name wired --no-resolve-image --network back IMAGE
docker network rm back

docker stack deploy -d=true -c STACK app | sort
docker stack ls --format '{{.Name}} {{.Services}}'
docker stack services app --format '{{.Name}} {{.Replicas}}'
docker stack ps app --format '{{.Name}} {{.DesiredState}}' | sort
docker stack deploy -d=true -c STACK app | sort
docker stack rm -d=false app

docker service rm web tight everywhere one two keeper wired where
docker swarm leave
`

const conformanceStack = `version: "3.8"
services:
  api: {image: "` + lab.Image + `", deploy: {replicas: 2}, configs: [{source: c, target: /c}]}
  db: {image: "` + lab.Image + `"}
configs: {c: {file: ./settings}}
`

// what differs between any two clusters: identifiers, addresses, names of machines and of networks' identifiers.
var differs = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\b[0-9a-z]{25}\b`), "<id>"},
	{regexp.MustCompile(`\b10\.\d+\.\d+\.\d+(:\d+)?`), "<addr>"},
	{regexp.MustCompile(`\bn[12]\b`), "<node>"},
	{regexp.MustCompile(`/\S+/orch-lab/\S+/`), "<dir>/"},
}

func TestConformance(t *testing.T) {
	l := lab.New(t, lab.Config{Hosts: 2})
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := start(t, l.Hosts[0])
	peer := l.Hosts[1]
	if _, err := peer.Run(t.Context(), "docker", "swarm", "init", "--advertise-addr", peer.Addr); err != nil {
		t.Fatal(err)
	}
	for _, h := range l.Hosts {
		node{h, t}.file("stack.yml", conformanceStack)
		node{h, t}.file("settings", "a=b\n")
	}
	for line := range strings.Lines(conversation) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		want := make(chan string, 1)
		go func() { want <- converse(t, peer, peer.DockerHost(), line) }()
		got := converse(t, n.Host, "unix://"+n.socket(), line)
		if diff := cmp.Diff(<-want, got); diff != "" {
			t.Errorf("%s (-swarm mode, +orch):\n%s", line, diff)
		}
	}
}

// converse runs a line on a host and returns all that the user sees.
func converse(t *testing.T, h *lab.Host, dockerHost, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), step)
	defer cancel()
	line = strings.NewReplacer("IMAGE", lab.Image, "NODE", h.Name, "STACK", h.Dir+"/stack.yml").Replace(line)
	cmd := h.Command(ctx, "env", "DOCKER_HOST="+dockerHost, "sh", "-c", line)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Errorf("%s: %v", line, err)
		return ""
	}
	text := out.String()
	for _, d := range differs {
		text = d.what.ReplaceAllString(text, d.by)
	}
	return fmt.Sprintf("%sexit code %d", text, cmd.ProcessState.ExitCode())
}
