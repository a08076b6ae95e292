package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"orch/daemon"
)

const defaultDockerHost = "unix:///var/run/docker.sock"

func (a *app) daemonCmd() *cobra.Command {
	cfg := daemon.Config{Version: version}
	var level, format string
	cmd := &cobra.Command{Use: "daemon", Short: "Run the daemon of this machine in the foreground", Args: cobra.NoArgs,
		Long: "Run the daemon of this machine in the foreground. It serves the Docker API on its socket and is in no cluster until\n" +
			"`orch init` or `orch join`. SIGTERM ends it and leaves containers running."}
	cmd.Flags().StringVar(&cfg.DataDir, "data-dir", defaultDataDir, "`DIRECTORY` for everything that outlives the process")
	cmd.Flags().StringVar(&cfg.Socket, "socket", defaultSocket, "`PATH` of the API's socket")
	cmd.Flags().StringVar(&cfg.ListenAddr, "listen-addr", "", "default of init and join: `ADDRESS[:PORT]`")
	cmd.Flags().StringVar(&cfg.AdvertiseAddr, "advertise-addr", "", "default of init and join: `ADDRESS[:PORT]` or an interface")
	cmd.Flags().StringVar(&cfg.DockerHost, "docker-host", defaultDockerHost, "the local engine")
	cmd.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().StringVar(&format, "log-format", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		log, err := newLog(level, format)
		if err != nil {
			return err
		}
		cfg.Log = log
		return daemon.Run(cmd.Context(), cfg)
	}
	return cmd
}

func newLog(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level %q: want debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
	}
	return nil, usagef("--log-format %q: want text or json", format)
}
