package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

// backupTimeout bounds a backup and a restore.
const backupTimeout = 5 * time.Minute

func (a *app) backupCmd() *cobra.Command {
	var phraseFile string
	var unlockKey bool
	cmd := &cobra.Command{Use: "backup FILE", Short: "Save the cluster's state, sealed, while it runs", Args: cobra.ExactArgs(1),
		Long: "Save everything that another machine needs to become this cluster's manager: the state at one moment, and the keys to it.\n" +
			"The file opens every secret of the cluster, so it is sealed: with a passphrase that is asked for (or read from standard input or\n" +
			"a file), or with the unlock key while autolock is on. Volumes are not in it."}
	cmd.Flags().StringVar(&phraseFile, "passphrase-file", "", "read the passphrase from the first line of `FILE`")
	cmd.Flags().BoolVar(&unlockKey, "unlock-key", false, "seal it with the unlock key in place of a passphrase")
	cmd.RunE = a.bounded(backupTimeout, func(ctx context.Context, cli *client.Client, args []string) error {
		phrase, err := a.backupPhrase(ctx, cli, phraseFile, unlockKey)
		if err != nil {
			return err
		}
		file, err := orchCall(ctx, cli, "/orch/backup", phrase, nil)
		if err != nil {
			return err
		}
		if err := writePrivate(args[0], file); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s: %d bytes, sealed. `orch restore` needs what it was sealed with.\n", args[0], len(file))
		return nil
	})
	return cmd
}

func (a *app) restoreCmd() *cobra.Command {
	var s starter
	var phraseFile string
	var own bool
	cmd := &cobra.Command{Use: "restore FILE | restore --snapshot", Short: "Go back to a backup, or to this manager's own copy of the state", Args: cobra.MaximumNArgs(1),
		Long: "Make this machine the manager of the cluster that a backup was taken of. Workers come back by themselves if it has the old manager's\n" +
			"address; other managers of then have to leave and join again. With --snapshot a manager whose state is damaged goes back to the newest copy that\n" +
			"it kept itself. What is left of the damaged state is moved aside."}
	s.flags(cmd)
	cmd.Flags().Lookup("listen-addr").Hidden = true
	cmd.Flags().StringVar(&phraseFile, "passphrase-file", "", "read the passphrase, or the unlock key, from the first line of `FILE`")
	cmd.Flags().BoolVar(&own, "snapshot", false, "go back to this manager's own copy")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if own == (len(args) == 1) {
			return usagef("give a backup's FILE, or --snapshot")
		}
		var file []byte
		var err error
		phrase, path := "", "/orch/restore?snapshot=1"
		if !own {
			path = "/orch/restore?advertise=" + s.advertiseAddr
			if file, err = os.ReadFile(args[0]); err != nil {
				return err
			}
			if phrase, err = a.phrase(phraseFile, "Passphrase or unlock key: "); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), backupTimeout)
		defer cancel()
		cli, err := a.running(ctx, s)
		if err != nil {
			return err
		}
		defer cli.Close()
		if _, err := orchCall(ctx, cli, path, phrase, file); err != nil {
			return err
		}
		fmt.Fprintln(a.out, "The cluster is restored, with this machine as its manager. `orch node ls` shows which workers are back.")
		return nil
	}
	return cmd
}

// bounded wraps a command that may take longer than a call and not for ever.
func (a *app) bounded(limit time.Duration, f func(context.Context, *client.Client, []string) error) func(*cobra.Command, []string) error {
	return a.stream(func(ctx context.Context, cli *client.Client, args []string) error {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return f(ctx, cli, args)
	})
}

func (a *app) backupPhrase(ctx context.Context, cli *client.Client, file string, unlockKey bool) (string, error) {
	if !unlockKey {
		phrase, err := a.phrase(file, "Passphrase: ")
		if _, tty := terminal(a.in); err != nil || file != "" || !tty {
			return phrase, err
		}
		again, err := a.secretLine("Again: ")
		if err == nil && again != phrase {
			err = errors.New("the two are not the same")
		}
		return phrase, err
	}
	if file != "" {
		return "", usagef("--unlock-key and --passphrase-file exclude each other")
	}
	r, err := cli.SwarmGetUnlockKey(ctx)
	if err == nil && r.UnlockKey == "" {
		err = errors.New("autolock is off, there is no unlock key: `orch autolock on` turns it on")
	}
	return r.UnlockKey, err
}

func (a *app) phrase(file, prompt string) (string, error) {
	if file == "" {
		return a.secretLine(prompt)
	}
	content, err := os.ReadFile(file)
	line, _, _ := strings.Cut(string(content), "\n")
	return strings.TrimSpace(line), err
}

// orchCall is a call of what Docker's API does not have.
func orchCall(ctx context.Context, cli *client.Client, path, phrase string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://orch"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Orch-Passphrase", base64.StdEncoding.EncodeToString([]byte(phrase)))
	// The client's own transport, which it also uses over TLS, speaks to the host it was made for.
	dial := cli.Dialer()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return answer, nil
	}
	var refusal struct{ Message string }
	if json.Unmarshal(answer, &refusal) != nil || refusal.Message == "" {
		return nil, fmt.Errorf("%s: this endpoint is not orch's: %s", path, resp.Status)
	}
	return nil, errors.New(refusal.Message)
}

// writePrivate replaces a file, readable by its owner alone, as a whole.
func writePrivate(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone once it is renamed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
