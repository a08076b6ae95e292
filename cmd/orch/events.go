package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

func (a *app) eventsCmd() *cobra.Command {
	var o events.ListOptions
	var matches []string
	var asJSON, local bool
	cmd := &cobra.Command{Use: "events", Short: "Show what happens in the cluster, as it happens", Args: cobra.NoArgs}
	cmd.Flags().StringVar(&o.Since, "since", "", "begin at a `TIME` in the past, or a duration ago")
	cmd.Flags().StringVar(&o.Until, "until", "", "end at a `TIME`")
	cmd.Flags().StringArrayVar(&matches, "filter", nil, "only events with `KEY=VALUE`, such as type=service or service=web")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line")
	cmd.Flags().BoolVar(&local, "local", false, "show events of this machine's containers, images and volumes too")
	cmd.RunE = a.stream(func(ctx context.Context, cli *client.Client, _ []string) error {
		o.Filters = filters.NewArgs()
		if !local {
			o.Filters.Add("scope", "swarm")
		}
		for _, m := range matches {
			key, value, ok := strings.Cut(m, "=")
			if !ok {
				return usagef("--filter %q: want KEY=VALUE", m)
			}
			o.Filters.Add(key, value)
		}
		messages, failed := cli.Events(ctx, o)
		for {
			select {
			case m := <-messages:
				if err := writeEvent(a.out, m, asJSON); err != nil {
					return err
				}
			case err := <-failed:
				if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
					return nil
				}
				return err
			}
		}
	})
	return cmd
}

func writeEvent(w io.Writer, m events.Message, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(m)
	}
	var attributes []string
	for k, v := range m.Actor.Attributes {
		if k != "name" {
			attributes = append(attributes, k+"="+v)
		}
	}
	slices.Sort(attributes)
	name := m.Actor.Attributes["name"]
	if name == "" {
		name = shorten(m.Actor.ID, idLength)
	}
	_, err := fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%s  %s %s %s  %s",
		time.Unix(0, m.TimeNano).Format(time.DateTime), m.Type, name, m.Action, strings.Join(attributes, " ")), " "))
	return err
}
