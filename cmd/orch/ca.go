package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

const (
	// rotatePoll is how often a rotation's progress is looked at.
	rotatePoll = 200 * time.Millisecond
	dateFormat = "2006-01-02"
)

func (a *app) caCmd() *cobra.Command {
	var rotate, detach bool
	var certFile, keyFile string
	cmd := &cobra.Command{Use: "ca", Short: "Show the cluster's certificate authority, or replace it", Args: cobra.NoArgs,
		Long: "Show the cluster's certificate authority and the nodes that have a certificate of it. With --rotate another one takes over while\n" +
			"everything runs; it is done once every node has a new certificate. Join tokens change with it."}
	cmd.Flags().BoolVar(&rotate, "rotate", false, "have another CA take over")
	cmd.Flags().StringVar(&certFile, "ca-cert", "", "the certificate of a CA that you bring, a PEM `FILE`")
	cmd.Flags().StringVar(&keyFile, "ca-key", "", "its key, a PEM `FILE`")
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "do not wait until it is done")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !rotate && certFile+keyFile != "" {
			return usagef("--ca-cert and --ca-key go with --rotate")
		}
		if (certFile == "") != (keyFile == "") {
			return usagef("--ca-cert and --ca-key go together")
		}
		return a.stream(func(ctx context.Context, cli *client.Client, _ []string) error {
			if rotate {
				if err := rotateCA(ctx, cli, certFile, keyFile); err != nil {
					return err
				}
				if detach {
					return nil
				}
				return a.waitForCA(ctx, cli)
			}
			s, nodes, err := caState(ctx, cli)
			if err != nil {
				return err
			}
			return writeCA(a.out, s, nodes)
		})(cmd, args)
	}
	return cmd
}

func rotateCA(ctx context.Context, cli *client.Client, certFile, keyFile string) error {
	var cert, key []byte
	var err error
	if certFile != "" {
		if cert, err = os.ReadFile(certFile); err != nil {
			return err
		}
		if key, err = os.ReadFile(keyFile); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return changeSwarm(ctx, cli, swarm.UpdateFlags{}, func(s *swarm.Spec) error {
		s.CAConfig.SigningCACert, s.CAConfig.SigningCAKey = string(cert), string(key)
		s.CAConfig.ForceRotate++
		return nil
	})
}

func caState(ctx context.Context, cli *client.Client) (swarm.Swarm, []swarm.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := cli.SwarmInspect(ctx)
	if err != nil {
		return s, nil, err
	}
	nodes, err := cli.NodeList(ctx, swarm.NodeListOptions{})
	return s, nodes, err
}

// waitForCA shows, a line for each change, how many nodes are still to follow.
func (a *app) waitForCA(ctx context.Context, cli *client.Client) error {
	tick := time.NewTicker(rotatePoll)
	defer tick.Stop()
	said := ""
	for {
		s, nodes, err := caState(ctx, cli)
		if err != nil {
			return err
		}
		behind := followers(s, nodes)
		line := fmt.Sprintf("%d of %d nodes follow the new CA", len(nodes)-len(behind), len(nodes))
		for _, n := range behind {
			if n.Status.State == swarm.NodeStateDown {
				line += fmt.Sprintf("; %s is down: start it, or remove it with `orch node rm`", n.Description.Hostname)
			}
		}
		if line != said {
			fmt.Fprintln(a.err, line)
			said = line
		}
		if !s.RootRotationInProgress && len(behind) == 0 {
			return writeCA(a.out, s, nodes)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// followers are the nodes that still have to follow the cluster's CA.
func followers(s swarm.Swarm, nodes []swarm.Node) (behind []swarm.Node) {
	for _, n := range nodes {
		own := n.Description.TLSInfo
		if !bytes.Equal(own.CertIssuerPublicKey, s.TLSInfo.CertIssuerPublicKey) || !s.RootRotationInProgress && own.TrustRoot != s.TLSInfo.TrustRoot {
			behind = append(behind, n)
		}
	}
	return behind
}

func writeCA(w io.Writer, s swarm.Swarm, nodes []swarm.Node) error {
	block, _ := pem.Decode([]byte(s.TLSInfo.TrustRoot))
	if block == nil {
		return errors.New("the cluster does not say who its CA is")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("read the CA's certificate: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", strings.TrimSpace(s.TLSInfo.TrustRoot))
	fmt.Fprintf(&b, "\nSubject:  %s\nValid:    %s to %s\n", cert.Subject, cert.NotBefore.Format(dateFormat), cert.NotAfter.Format(dateFormat))
	fmt.Fprintf(&b, "Nodes:    certificates last %s\n", s.Spec.CAConfig.NodeCertExpiry)
	if s.RootRotationInProgress {
		fmt.Fprintln(&b, "Rotation: another CA takes over")
	}
	for _, n := range followers(s, nodes) {
		fmt.Fprintf(&b, "          %s (%s) has no certificate of it yet\n", n.Description.Hostname, n.Status.State)
	}
	_, err = io.WriteString(w, b.String())
	return err
}
