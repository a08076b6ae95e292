package api

import (
	"net/http"
	"time"

	"orch/internal/store"
	"orch/manager/scheduler"
)

// rebalance is no call of Docker's: Swarm leaves tasks where they are. It answers with the moves that are possible
// now, and begins them unless dry says not to.
func (a *API) rebalance(w http.ResponseWriter, r *http.Request) error {
	moves := []scheduler.Move{}
	if flag(r, "dry") {
		moves = append(moves, scheduler.Rebalance(a.Store.View().NewTx(time.Now()))...)
		return encode(w, http.StatusOK, moves)
	}
	err := a.Store.Update(r.Context(), func(tx *store.Tx) error {
		moves = append([]scheduler.Move{}, scheduler.Begin(tx)...)
		return nil
	})
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, moves)
}
