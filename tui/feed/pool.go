package feed

import (
	"sync/atomic"

	"github.com/docker/docker/client"
)

// Client is the part of the Docker client that the dashboard uses.
type Client = client.APIClient

// Endpoint is one manager's API.
type Endpoint struct {
	Host string
	API  Client
}

// Pool is the APIs of one cluster, of which one is in use: when it does not answer, the next is.
type Pool struct {
	all []Endpoint
	at  atomic.Int64
}

// NewPool begins with the first of at least one endpoint.
func NewPool(all []Endpoint) (*Pool, error) {
	if len(all) == 0 {
		return nil, errNoEndpoint
	}
	return &Pool{all: all}, nil
}

// Current is the endpoint in use.
func (p *Pool) Current() Endpoint { return p.all[int(p.at.Load())%len(p.all)] }

// Next goes on to the next endpoint.
func (p *Pool) Next() { p.at.Add(1) }
