package main

import (
	"sync"
	"time"
)

// gate lets requests in and out and can be closed, as the servers' own do:
//   - ScalarDB Server 3.12: SynchronizedGateKeeper and AdminService (scalar-labs/scalardb, branch 3.12, server/).
//   - ScalarDL Ledger: GateKeeper (scalar-labs/scalardl d4ada364, common/) and AdminService (ledger/).
type gate struct {
	scalarDL bool

	lock sync.Mutex
	// Closed, and another one made, with every change below.
	changed     chan struct{}
	open        bool
	pausing     bool // ScalarDL: a pause waits for outstanding requests, and may still undo itself.
	outstanding int
	held        int // ScalarDL: requests that wait until the gate opens.
	refused     int // ScalarDB: requests that found it closed.
}

// What became of a pause, in ScalarDL's words.
const (
	paused              = ""
	timedOut            = "TIMED_OUT"
	timedOutStillPaused = "TIMED_OUT_STILL_PAUSED"
	gateOpen            = "GATE_OPEN"
	pauseInProgress     = "PAUSE_IN_PROGRESS"
)

func newGate(scalarDL bool) *gate {
	return &gate{scalarDL: scalarDL, open: true, changed: make(chan struct{})}
}

// wait gives up the lock until something changed, or it is too late; then it is false.
func (g *gate) wait(deadline time.Time) bool {
	left := time.Until(deadline)
	if left <= 0 {
		return false
	}
	changed := g.changed
	g.lock.Unlock()
	defer g.lock.Lock()
	select {
	case <-changed:
	case <-time.After(left):
	}
	return true
}

func (g *gate) change() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// letIn is false when the request is refused.
func (g *gate) letIn() bool {
	g.lock.Lock()
	defer g.lock.Unlock()
	if !g.open && !g.scalarDL {
		g.refused++
		return false
	}
	g.held++
	for !g.open {
		g.wait(time.Now().Add(time.Hour))
	}
	g.held--
	g.outstanding++
	return true
}

func (g *gate) letOut() {
	g.lock.Lock()
	defer g.lock.Unlock()
	g.outstanding--
	g.change()
}

func (g *gate) unpause() {
	g.lock.Lock()
	defer g.lock.Unlock()
	g.open = true
	g.change()
}

func (g *gate) isPaused() bool {
	g.lock.Lock()
	defer g.lock.Unlock()
	return !g.open
}

// pauseNow closes the gate and waits for nothing.
func (g *gate) pauseNow() string {
	g.lock.Lock()
	defer g.lock.Unlock()
	if g.scalarDL && g.pausing {
		return pauseInProgress
	}
	g.open = false
	return paused
}

// pause closes the gate and waits until no request is outstanding.
func (g *gate) pause(patience time.Duration) string {
	g.lock.Lock()
	defer g.lock.Unlock()
	if g.scalarDL {
		return g.pauseScalarDL(time.Now().Add(patience))
	}
	return g.pauseScalarDB(time.Now().Add(patience))
}

// ScalarDB's pauses know nothing of each other or of an unpause: one that times out opens the gate also when another
// had closed it, and one that is drained after somebody opened the gate is told that it succeeded.
func (g *gate) pauseScalarDB(deadline time.Time) string {
	g.open = false
	for g.outstanding > 0 && g.wait(deadline) {
	}
	if g.outstanding > 0 {
		g.open = true
		g.change()
		return timedOut
	}
	return paused
}

// ScalarDL's pauses wait for each other, and undo only what they did themselves.
func (g *gate) pauseScalarDL(deadline time.Time) string {
	for g.pausing {
		if !g.wait(deadline) {
			return pauseInProgress
		}
	}
	closedHere := g.open
	g.pausing, g.open = true, false
	for !g.open && g.outstanding > 0 && g.wait(deadline) {
	}
	result := paused
	switch {
	case g.open:
		result = gateOpen
	case g.outstanding > 0 && closedHere:
		g.open = true
		result = timedOut
	case g.outstanding > 0:
		result = timedOutStillPaused
	}
	g.pausing = false
	g.change()
	return result
}
