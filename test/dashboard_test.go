package test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"orch/test/lab"
)

// onScreen is how long anything may take to be seen: the machine may be busy with other tests.
const onScreen = 20 * time.Second

// screen is the dashboard in a real terminal.
type screen struct {
	t      *testing.T
	socket string
}

// dashboard starts `orch ui` in tmux. Its files are in dir; the editor is a script.
func dashboard(t *testing.T, host, dir string, args ...string) *screen {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if os.Getenv("ORCH_TEST_DOCKER") == "required" {
			t.Fatal("no tmux")
		}
		t.Skip("no tmux: scripts/engine.sh tools installs it")
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t, filepath.Join(dir, "tmux.sock")}
	command := fmt.Sprintf("HOME=%[1]s XDG_CONFIG_HOME=%[1]s/config XDG_STATE_HOME=%[1]s/state EDITOR=%[1]s/editor ORCH_HOST=%[2]s %[3]s ui %[4]s; echo ended with $?; sleep 60", dir, host, path, strings.Join(args, " "))
	s.tmux("-f", "/dev/null", "new-session", "-d", "-x", "140", "-y", "40", command)
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", s.socket, "kill-server").Run() })
	return s
}

func (s *screen) tmux(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", s.socket}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// keys are names of tmux's, or text.
func (s *screen) keys(keys ...string) *screen {
	s.t.Helper()
	s.tmux(append([]string{"send-keys"}, keys...)...)
	return s
}

// line types a text and Enter.
func (s *screen) line(text string) *screen {
	s.t.Helper()
	s.tmux("send-keys", "-l", text)
	return s.keys("Enter")
}

// sees waits for a regular expression on the screen.
func (s *screen) sees(what string) *screen {
	s.t.Helper()
	re, shown := regexp.MustCompile(what), ""
	for deadline := time.Now().Add(onScreen); time.Now().Before(deadline); time.Sleep(30 * time.Millisecond) {
		if shown = s.tmux("capture-pane", "-p"); re.MatchString(shown) {
			return s
		}
	}
	s.t.Fatalf("never saw %q; the screen is\n%s", what, regexp.MustCompile(`\n(\s*\n)+`).ReplaceAllString(shown, "\n"))
	return s
}

const shop = `name: shop
services:
  web:
    image: ` + lab.Image + `
    command: [serve, "127.0.0.1:8080"]
    secrets: [key]
    deploy: {replicas: 2, update_config: {monitor: 200ms, delay: 200ms}, rollback_config: {monitor: 200ms}}
    stop_grace_period: 1s
  talk:
    image: ` + lab.Image + `
    command: [lines, "300"]
secrets:
  key: {file: ./key.txt}
`

// TestDashboard walks every view and action of the dashboard on two machines, in a real terminal.
func TestDashboard(t *testing.T) {
	l := lab.New(t, lab.Config{Hosts: 2})
	if err := l.Load(t.Context(), "orch-test/app:2"); err != nil {
		t.Fatal(err)
	}
	manager := start(t, l.Hosts[0])
	join(t, l.Hosts[1], strings.TrimSpace(manager.orch("token", "worker", "-q")), manager.Addr)
	eventually(t, onScreen, "two ready nodes", func() bool { return strings.Count(manager.orch("node", "ls"), " ready ") == 2 })
	manager.file("key.txt", "hidden-value")
	file := manager.file("compose.yml", shop)
	editor := "#!/bin/sh\nsed -i 's/^  Name: shop_web$/&/; s/Replicas: 2/Replicas: 1/' \"$1\"\n"
	if err := os.WriteFile(filepath.Join(manager.Dir, "editor"), []byte(editor), 0o755); err != nil {
		t.Fatal(err)
	}
	s := dashboard(t, "unix://"+manager.socket(), manager.Dir)
	s.sees(`✓ healthy +2/2 nodes +1/1 managers, leader`)

	t.Run("deploy", func(t *testing.T) {
		s.t = t
		s.keys(":").line("deploy " + file).sees(`\+ service shop_web`).keys("y").sees(`✓ stack shop: healthy`).keys("Escape")
		s.sees(`stack +shop +3/3 tasks of 2 services`)
	})
	t.Run("views", func(t *testing.T) { views(t, s, node{manager.Host, t}) })
	t.Run("logs", func(t *testing.T) { logViews(t, s) })
	t.Run("usage", func(t *testing.T) {
		s.t = t
		s.keys("5").sees(`cpu .*[▁-█]`).keys("u").sees(`CPU +now .* of`).sees(`MEMORY +now`).keys("Escape")
		s.keys("6").sees(`shop_web\.1 .*[0-9.]+ +[▁-█]`).keys("/").line("web").keys("j").keys("Enter").sees(`NETWORK IN`)
	})
	t.Run("services", func(t *testing.T) { serviceActions(t, s, node{manager.Host, t}) })
	t.Run("remote", func(t *testing.T) { remote(t, s, node{manager.Host, t}) })
	t.Run("nodes", func(t *testing.T) { nodeActions(t, s, l.Hosts[1].Name) })
	t.Run("stale", func(t *testing.T) {
		s.t = t
		s.keys("1")
		manager.kill()
		s.sees(`! stale since \d\d:\d\d:\d\d`)
		manager.restart()
		s.sees(`(✓ healthy|! \d+ wrong) +2/2 nodes`)
	})
	t.Run("end", func(t *testing.T) {
		s.t = t
		s.tmux("resize-window", "-x", "80", "-y", "24")
		s.keys(":").line("remove shop").sees(`Remove stack shop\?`).keys("y").sees(`shop changed`).keys("2").sees(`No stacks`)
		s.keys("q").sees(`ended with 0`)
		if b, err := os.ReadFile(filepath.Join(manager.Dir, "state", "orch", "ui.json")); err != nil || !strings.Contains(string(b), `"view": "stacks"`) {
			t.Errorf("remembered %s, %v", b, err)
		}
	})
}

// TestDashboardWithoutAnAPI: a socket that is not there, and one that takes connections and never answers.
func TestDashboardWithoutAnAPI(t *testing.T) {
	dir := t.TempDir()
	silent := filepath.Join(dir, "silent.sock")
	l, err := net.Listen("unix", silent)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for host, want := range map[string]string{filepath.Join(dir, "none.sock"): `✗ .*none\.sock: ask for the API`, silent: `✗ .*silent\.sock: ask for the API`} {
		s := dashboard(t, "unix://"+host, t.TempDir())
		s.sees(want).keys("3").sees(`Waiting for the cluster`).keys("q").sees(`ended with 0`)
	}
}

func views(t *testing.T, s *screen, manager node) {
	s.t = t
	s.keys("2").sees(`> +shop +2 +3/3`).keys("Enter").sees(`stacks › shop`).keys("Enter").sees(`stacks › shop › shop_`).keys("Escape", "Escape").sees(`(?m)^stacks`)
	for _, v := range []struct{ keys, what string }{
		{"3", `shop_web +2/2 +orch-test/app:1`}, {"4", `shop_web\.2 .*running`}, {"5", `leader +\d`}, {"6", `shop_talk\.1`}, {"7", `shop +1 \* .*done`},
		{"8", `shop_default +overlay`}, {"9", `orch-test/app:1`}, {"0", `service +create +shop_web`},
	} {
		s.keys(v.keys).sees(v.what)
	}
	s.keys("7").sees("shop").keys("Enter").sees(`revision 1 of shop`).sees(`\+ service shop_web`).keys("Escape")
	for _, v := range []struct{ name, what string }{{"secrets", `shop_key`}, {"configs", `No configs`}, {"volumes", `VOLUME, HERE`}, {"forwards", `No ports are forwarded`}} {
		s.keys(":").line(v.name).sees(v.what)
	}
	s.keys(":").line("inspect shop_key").sees(`Name: shop_key`)
	if strings.Contains(s.tmux("capture-pane", "-p"), "hidden") {
		t.Error("a secret's value is on the screen")
	}
	s.keys("3").sees("shop_web").keys("/").line("web").sees(`\[/web: 1\]`).keys("i").sees(`Image: orch-test/app`).keys("J").sees(`"Image": "orch-test/app`)
	s.keys("/").line("Replicas").sees(`search Replicas: [1-9]`).keys("Escape", "Escape").sees(`\[/web: 1\]`).keys("Escape", "?").sees(`KEYS of services`).sees(`c +scale +scale`).keys("Escape")
	s.keys("s").sees(`SERVICE▴`).keys("C-r").sees(`SERVICE▾`).keys("C").line("stack").sees(`STACK`).keys("Space").sees(`\[1 marked\]`).keys("y").sees(`copied shop_`).keys("Escape", "C").line("stack").sees(`SERVICE▾ +TASKS`)
	s.tmux("resize-window", "-x", "20", "-y", "5")
	s.sees(`services`)
	s.tmux("resize-window", "-x", "140", "-y", "40")
	s.keys("T").sees(`theme`)
	frame := manager.orch("ui", "--snapshot", "services")
	if !strings.Contains(frame, "shop_web") || strings.Contains(frame, "\x1b") {
		t.Errorf("snapshot:\n%s", frame)
	}
}

func logViews(t *testing.T, s *screen) {
	s.t = t
	s.keys("2").sees("shop").keys("l").sees(`logs of shop +\[following\]`).sees(`shop_talk\.1 +│ line 300`)
	s.keys("&").line("line 29.").sees(`only /line 29\./: 10 of`).keys("Escape").sees(`line 300`)
	s.keys("/").line("line 250").keys("N").sees(`paused`).sees(`line 250`).keys("G").sees(`following`)
	s.keys("t").sees(`\d\d:\d\d:\d\d\.\d\d\d line 300`).keys("t", "w", "Space").sees(`paused`).keys("Space").sees(`following`)
	path := filepath.Join(t.TempDir(), "log")
	s.keys("W").line(path).sees(`saved to`)
	if b, err := os.ReadFile(path); err != nil || strings.Count(string(b), "\n") < 300 || !strings.Contains(string(b), "shop_talk.1 | line 300") {
		t.Errorf("saved %d bytes, %v", len(b), err)
	}
	s.keys("S").line("1h").sees(`since 1h`).sees(`line 300`).keys("Escape")
	s.keys(":").line("logs shop_talk.1").sees(`(?m)^line 300`)
}

func serviceActions(t *testing.T, s *screen, manager node) {
	s.t = t
	only := func() { s.keys("3").sees("shop_web").keys("/").line("web").sees(`/web: 1`) }
	only()
	s.keys("c").line("1").sees(`Scale shop_web \(2/2 tasks\) to 1: 1 tasks are stopped\?`).keys("n").sees(`Nothing was changed`)
	s.keys(":").line("scale shop_web 1").sees(`1 tasks are stopped`).keys("y").sees(`shop_web +1/1`)
	s.keys(":").line("scale shop_web 2").keys("y").sees(`shop_web +2/2`)
	s.keys("r").sees(`Restart shop_web`).keys("y").sees(`shop_web changed`).sees(`2/2 .*(updating|completed)`).sees(`completed`)
	s.keys("I").keys("C-u").line("orch-test/app:2").sees(`Run image orch-test/app:2`).keys("y").sees(`2/2 +orch-test/app:2 .*completed`)
	s.keys("b").sees(`with image orch-test/app:1`).keys("y").sees(`2/2 +orch-test/app:1 .*rollback_completed`)
	s.keys("U").sees(`Hold the update`).keys("y").sees(`no update of it is under way`)
	s.keys("R").sees(`go on\?`).keys("y").sees(`no update of it is paused`)
	s.keys("e").sees(`- +Replicas: 2`).sees(`\+ +Replicas: 1`).keys("y").sees(`shop_web +1/1`)
	s.keys(":").line("scale shop_web 2").keys("y").sees(`shop_web +2/2`)
	s.keys("4").sees("shop_talk").keys("/").line("talk").keys("X").sees(`Stop shop_talk\.1`).keys("y").sees(`running`)
	s.keys("7").sees("shop").keys("b").sees(`(nothing to change|y deploys this)`).keys("Escape")
	manager.orch("deploy", "-c", manager.file("extra.yml", "name: extra\nservices:\n  one:\n    image: "+lab.Image+"\n"))
	s.keys("3").sees(`extra_one +1/1`).keys("/").line("extra").keys("X").sees(`Remove extra_one`).keys("y").sees(`No row matches`).keys("Escape")
}

// remote reaches tasks on both machines through the one manager: by the command line, by Docker's client, and by the dashboard.
func remote(t *testing.T, s *screen, manager node) {
	s.t = t
	for _, slot := range []string{"1", "2"} {
		if out := manager.orch("exec", "-e", "SLOT="+slot, "shop_web."+slot, "/app", "env", "SLOT"); strings.TrimSpace(out) != slot {
			t.Errorf("exec in slot %s: %q", slot, out)
		}
	}
	for _, slot := range []string{"1", "2"} {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := free.Addr().(*net.TCPAddr).Port
		free.Close()
		s.keys(":").line(fmt.Sprintf("forward shop_web.%s %d:8080", slot, port)).sees(fmt.Sprintf(`127\.0\.0\.1:%d is port 8080 of shop_web\.%s`, port, slot))
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
		_ = conn.SetDeadline(time.Now().Add(onScreen))
		if b, err := io.ReadAll(conn); err != nil || !strings.Contains(string(b), "200 OK") {
			t.Errorf("slot %s by port %d: %s, %v", slot, port, b, err)
		}
		conn.Close()
	}
	s.keys(":").line("forwards").sees(`2 forwarded`).keys("X").sees(`1 forwarded`).keys("X").sees(`No ports are forwarded`)
	s.keys(":").line("shell shop_web.2").sees(`shell of `).line("hello").sees(`you said hello`).line("exit").sees(`left the shell of shop_web\.2`)
}

func nodeActions(t *testing.T, s *screen, worker string) {
	s.t = t
	s.keys("5").sees(worker).keys("/").line(worker)
	s.keys("p").sees(`gets no new ones`).keys("y").sees(`ready, pause`)
	s.keys("d").sees(`stopped and started on other nodes`).keys("y").sees(`ready, drain`)
	s.keys("a").sees(`Activate`).keys("y").sees(`\d +2 cpu|ready +worker`)
	s.keys("L").line("zone=a").sees(`Set label zone=a`).keys("y").sees(`zone=a`).keys("L").line("zone=").keys("y").sees(`changed`)
	s.keys("P").sees(`then has 2 managers and survives the loss of 0`).keys("n")
	s.keys("O").sees(`(Demote|last manager)`).keys("n").keys("Escape", "1").sees(`overview`)
}

// kill ends the daemon without a word.
func (n node) kill() {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dataDir(), "daemon.pid"))
	if err != nil {
		n.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		n.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
}
