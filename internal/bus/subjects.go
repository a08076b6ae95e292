package bus

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// The accounts: what is published in one cannot be seen in another.
const (
	accountState   = "ORCH"    // JetStream; managers only
	accountWorkers = "WORKERS" // managers and workers, no JetStream
	accountGhost   = "GHOST"   // nobody; keeps a lone manager electable
	accountSystem  = "SYS"
)

// The state: one stream, one message per subject.
const (
	StateStream   = "ORCH"
	stateSubjects = "state.>"
	statePrefix   = "state."

	// FoundedKey holds the cluster's ID from the first moment on: a state without it has been lost.
	FoundedKey = "founded"
)

// StateSubject is where the value of a key of the state lives.
func StateSubject(key string) string { return statePrefix + key }

// StateKey is the key of a subject of the state.
func StateKey(subject string) string { return strings.TrimPrefix(subject, statePrefix) }

// AllState matches every subject of the state.
func AllState() string { return stateSubjects }

// StateElected is where the server says that the state has another leader.
const StateElected = server.JSAdvisoryStreamLeaderElectedPre + "." + StateStream

// What a worker sends goes to orch.from.<node>.<what>, what it is sent to
// orch.to.<node>.<what>, and answers to its requests to _INBOX.<node>.>: so
// its permissions are three patterns, and each end knows from the subject who speaks.
const (
	fromPrefix = "orch.from."
	toPrefix   = "orch.to."

	whatSession  = "session"
	whatBeat     = "beat"
	whatReport   = "report"
	whatAttach   = "attach"
	whatAttached = "attached"
	whatAsk      = "ask" // to: questions; from: answer.<id>
	whatAnswer   = "answer"
	whatImage    = "image"
	whatAssign   = "assign"
	whatLogs     = "logs"    // to: requests; from: logs.<stream>, the chunks
	whatLogAck   = "logack"  // to: logack.<stream>, more chunks may be sent
	whatLogStop  = "logstop" // to: logstop.<stream>, nobody reads any more
	whatTunnel   = "tunnel"  // to: openings; to and from: tunnel.<id>, what goes through one

	anyNode = "*"

	// managerPrefix is where managers tell each other that they are there, in the state's account.
	managerPrefix = "orch.manager."
)

func fromSubject(node, what string) string { return fromPrefix + node + "." + what }
func toSubject(node, what string) string   { return toPrefix + node + "." + what }
func inboxPrefix(node string) string       { return "_INBOX." + node }

// sender is the node that sent a message to orch.from.<node>.….
func sender(subject string) string {
	node, _, _ := strings.Cut(strings.TrimPrefix(subject, fromPrefix), ".")
	return node
}

// errReply says that a request asks for its answer to go to somebody else.
var errReply = errors.New("the reply subject is not the asking node's")

// checkReply refuses a request whose answer would land anywhere but in the inbox of the
// node that asks: NATS does not check permissions on the reply subject, and
// what a manager publishes, it publishes with a manager's rights.
func checkReply(node, reply string) error {
	rest, ok := strings.CutPrefix(reply, inboxPrefix(node)+".")
	if !ok || rest == "" || strings.ContainsAny(rest, "*> \t") {
		return fmt.Errorf("node %s: %w", node, errReply)
	}
	return nil
}
