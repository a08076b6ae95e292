package daemon

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// socketGroup may use the socket, as it may use dockerd's.
const socketGroup = "docker"

// permit gives the socket to root and the docker group, or to root alone where
// there is no such group.
func permit(path string) error {
	if g, err := user.LookupGroup(socketGroup); err == nil {
		gid, err := strconv.Atoi(g.Gid)
		if err != nil {
			return fmt.Errorf("group %s: %w", socketGroup, err)
		}
		// Without root the group cannot be given away; the owner still has access.
		if err := os.Chown(path, -1, gid); err != nil && os.Geteuid() == 0 {
			return fmt.Errorf("give the socket to group %s: %w", socketGroup, err)
		}
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return fmt.Errorf("permissions of the socket: %w", err)
	}
	return nil
}
