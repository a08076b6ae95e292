package bus

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// natsLog takes the server's log lines: its notices are our debug, as an
// operator of orch should not have to know that there is a NATS server.
type natsLog struct {
	log *slog.Logger
	// steady is true between start and shutdown. Outside of it the server warns
	// of what is as it should be, such as not having a leader yet.
	steady atomic.Bool

	// mu guards fatal, the first fatal error: what kept the server from starting.
	mu    sync.Mutex
	fatal string
}

func (l *natsLog) write(level slog.Level, format string, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, fmt.Sprintf(format, v...))
	}
}

func (l *natsLog) Noticef(format string, v ...any) { l.write(slog.LevelDebug, format, v) }
func (l *natsLog) Debugf(format string, v ...any)  { l.write(slog.LevelDebug, format, v) }
func (l *natsLog) Tracef(format string, v ...any)  { l.write(slog.LevelDebug, format, v) }
func (l *natsLog) Warnf(format string, v ...any)   { l.write(l.warning(format), format, v) }
func (l *natsLog) Errorf(format string, v ...any)  { l.write(l.warning(format), format, v) }

// expected are the beginnings of what the server warns of, some of it every second, while another manager is away or copies the state:
// Peers says that once, in our words.
var expected = []string{"Error trying to connect to route", "Catchup for stream"}

func (l *natsLog) warning(format string) slog.Level {
	said := slices.ContainsFunc(expected, func(text string) bool { return strings.HasPrefix(format, text) })
	if l.steady.Load() && !said {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// Fatalf must not end the process, as the server's own logger would.
func (l *natsLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == "" {
		l.fatal = fmt.Sprintf(format, v...)
	}
}

func (l *natsLog) failure() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
