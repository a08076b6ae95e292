package bus

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// noQuorum is how many routes a joining server pretends to have. A new server
	// expects a member behind every route, and takes part in an election once it
	// has found more than half of them. Two that start together would elect each
	// other, and overrule the cluster that they are to join: all its state would be lost. With
	// this many it takes five, and joins are one at a time besides.
	noQuorum = 9
	// routePing lets managers notice within 3 s that another's machine is gone
	// without having closed the connection.
	routePing = time.Second
)

// clusterName is NATS' own idea of a cluster; what keeps strangers out is the CA.
const clusterName = "orch"

// accounts are configured as text because accounts made by program have no
// JetStream before the server runs.
const accounts = `
accounts {
  ` + accountState + ` { jetstream: enabled }
  ` + accountWorkers + ` {}
  ` + accountGhost + ` {}
  ` + accountSystem + ` {}
}
system_account: ` + accountSystem

func (s *Server) options() (*server.Options, error) {
	o := &server.Options{}
	if err := o.ProcessConfigString(accounts); err != nil {
		return nil, fmt.Errorf("configure the accounts: %w", err)
	}
	o.ServerName = s.cfg.Name
	o.NoSigs, o.DisableJetStreamBanner = true, true
	o.MaxPayload, o.MaxPending = maxPayload, maxPending

	o.JetStream, o.StoreDir = true, s.cfg.Dir
	o.JetStreamKey, o.JetStreamCipher = s.cfg.Key, server.ChaCha
	// The stock server flushes every two minutes, and a power cut then takes back
	// what was acknowledged.
	o.SyncAlways = true

	var err error
	if o.Host, o.Port, err = reserve(s.cfg.ClientAddr); err != nil {
		return nil, fmt.Errorf("client address %q: %w", s.cfg.ClientAddr, err)
	}
	o.TLSConfig, o.TLSHandshakeFirst, o.TLSTimeout = s.cfg.ServerTLS, true, tlsTimeout
	o.CustomClientAuthentication = s.auth
	o.ClientAdvertise = s.cfg.AdvertiseClient

	o.Cluster = server.ClusterOpts{
		Name: clusterName, TLSConfig: s.auth.routeTLS(s.cfg.RouteTLS), TLSTimeout: tlsTimeout, Advertise: s.cfg.AdvertiseRoute,
		PingInterval: routePing, MaxPingsOut: maxPings,
	}
	if o.Cluster.Host, o.Cluster.Port, err = reserve(s.cfg.RouteAddr); err != nil {
		return nil, fmt.Errorf("route address %q: %w", s.cfg.RouteAddr, err)
	}
	for _, addr := range s.cfg.Routes {
		o.Routes = append(o.Routes, routeURL(addr))
	}
	for i := 0; s.cfg.Joining && len(o.Routes) > 0 && len(o.Routes) < noQuorum; i++ {
		o.Routes = append(o.Routes, o.Routes[i])
	}
	if len(o.Routes) == 0 {
		// Clustered JetStream does not start without a route; one to itself will do.
		o.Routes = append(o.Routes, routeURL(net.JoinHostPort(localHost(o.Cluster.Host), strconv.Itoa(o.Cluster.Port))))
	}

	o.LeafNode = server.LeafNodeOpts{
		NoAdvertise: true, Username: "ghost", Password: rand.Text(), Account: accountGhost,
	}
	if o.LeafNode.Host, o.LeafNode.Port, err = reserve("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("address of the ghost: %w", err)
	}
	return o, nil
}

func routeURL(addr string) *url.URL { return &url.URL{Scheme: "nats-route", Host: addr} }

// localHost is an address at which a listener on host can be reached from here.
func localHost(host string) string {
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "127.0.0.1"
	}
	return host
}
