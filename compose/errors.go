package compose

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// FailedError is a deploy that cannot succeed as it is: a task fails again and again, an update was paused or rolled back.
type FailedError struct {
	Stack    string
	Service  string // when it is not a deploy's but a single service's
	Failures []Failure
	// Outcome says what became of the stack: "rolled back", "left as it is for inspection" …
	Outcome string
}

// NotHealthyError is a deploy that was applied but did not become healthy before its timeout.
type NotHealthyError struct {
	Stack    string
	Service  string // as above
	After    string
	Failures []Failure
	Outcome  string
}

// InterruptedError is a deploy whose watching was ended before it was. What is written rolls out by itself.
type InterruptedError struct {
	Stack   string
	Pending []string // services that still waited for others, and are as they were

	err error
}

// Failure is what is known about one service that keeps a deploy from succeeding.
type Failure struct {
	Service string   `json:"service"`
	Task    string   `json:"task,omitempty"` // web.2, with its id
	Node    string   `json:"node,omitempty"`
	Reason  string   `json:"reason"`
	Health  string   `json:"health,omitempty"` // output of the last health check
	Logs    []string `json:"logs,omitempty"`   // last lines
}

func (f Failure) String() string {
	var b strings.Builder
	b.WriteString(f.Service)
	if f.Task != "" {
		fmt.Fprintf(&b, " (task %s", f.Task)
		if f.Node != "" {
			fmt.Fprintf(&b, " on %s", f.Node)
		}
		b.WriteString(")")
	}
	b.WriteString(": " + f.Reason)
	if f.Health != "" {
		b.WriteString("\n  last health check: " + strings.ReplaceAll(f.Health, "\n", "\n    "))
	}
	if len(f.Logs) > 0 {
		b.WriteString("\n  last log lines:\n    " + strings.Join(f.Logs, "\n    "))
	}
	return b.String()
}

func (e *FailedError) Error() string {
	if e.Service != "" {
		return "service " + e.Service + " failed" + failures(e.Failures)
	}
	return fmt.Sprintf("deploy of stack %s failed%s%s", e.Stack, outcome(e.Outcome), failures(e.Failures))
}

func (e *NotHealthyError) Error() string {
	if e.Service != "" {
		return fmt.Sprintf("service %s is not as wanted after %s%s", e.Service, e.After, failures(e.Failures))
	}
	return fmt.Sprintf("stack %s is deployed but not healthy after %s%s%s", e.Stack, e.After, outcome(e.Outcome), failures(e.Failures))
}

func (e *InterruptedError) Error() string {
	return fmt.Sprintf("stopped watching the deploy of stack %s, which goes on%s", e.Stack, notWritten(e.Pending))
}

// notWritten says of services that still wait for others that waiting alone will not bring them.
func notWritten(services []string) string {
	if len(services) == 0 {
		return ""
	}
	return "; not written yet, as they waited for others: " + strings.Join(services, ", ")
}

func (e *InterruptedError) Unwrap() error { return e.err }

// reason is an error in a line, for the history.
func reason(err error) string {
	var failed *FailedError
	var late *NotHealthyError
	var interrupted *InterruptedError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &interrupted):
		return strings.TrimPrefix(notWritten(interrupted.Pending), "; ")
	case errors.As(err, &failed) && len(failed.Failures) > 0:
		return failed.Failures[0].Service + ": " + failed.Failures[0].Reason
	case errors.As(err, &late) && len(late.Failures) > 0:
		return late.Failures[0].Service + ": " + late.Failures[0].Reason
	}
	return plain(err)
}

func outcome(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

func failures(list []Failure) string {
	var b strings.Builder
	for _, f := range list {
		b.WriteString("\n" + f.String())
	}
	return b.String()
}

// remote is the wrapping of Docker's client and of Swarm's managers around a text.
var remote = regexp.MustCompile(`Error response from daemon: |rpc error: code = \w+ desc = `)

// plain is an error's text without that.
func plain(err error) string { return remote.ReplaceAllString(err.Error(), "") }
