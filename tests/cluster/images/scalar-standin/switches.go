package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// switches make the server misbehave, from its start (SWITCHES) or while it runs (scalar-standin switch ...):
//
//	drain=5s             each request takes so long inside the gate; drain=0s no longer
//	pause=hang           no effect, no answer
//	pause=error          no effect, an error
//	pause=lost           done, but no answer
//	unpause=...          the same; check= too, and check=unimplemented: a server that is older than CheckPaused
//	unpause=error:3      the next three only
//	pause=ok             as it should again
//
// One of these alone:
//
//	restart              the process ends at once, without an answer: the kubelet starts another, which is not paused
//	state                prints what the server is at, as JSON
type switches struct {
	gate   *gate
	lock   sync.Mutex
	faults map[string]fault
	calls  [2]int // of Pause and Unpause, whatever came of them

	drain int64
	puts  int64
}

// fault is what goes wrong with a call; left counts down, from below 0 for ever.
type fault struct {
	kind string
	left int
}

// Other pods, and the host, do not reach it.
const switchAddress = "127.0.0.1:8001"

var kinds = []string{"ok", "hang", "error", "lost", "unimplemented"}

// apply flips all switches of the words, or none.
func (s *switches) apply(words string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	drain, faults := atomic.LoadInt64(&s.drain), map[string]fault{}
	for _, word := range strings.Fields(words) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "drain":
			d, err := time.ParseDuration(value)
			if err != nil {
				return err
			}
			drain = int64(d)
		case "pause", "unpause", "check":
			kind, count, counted := strings.Cut(value, ":")
			left, err := strconv.Atoi(count)
			if !counted {
				left, err = -1, nil
			}
			if err != nil || !slices.Contains(kinds, kind) {
				return fmt.Errorf("%s: not one of %v, with :COUNT or without", word, kinds)
			}
			faults[name] = fault{kind, left}
		default:
			return fmt.Errorf("%s: no such switch", word)
		}
	}
	atomic.StoreInt64(&s.drain, drain)
	for name, fault := range faults {
		s.faults[name] = fault
	}
	return nil
}

// take gives what is to go wrong with this call.
func (s *switches) take(name string) string {
	s.lock.Lock()
	defer s.lock.Unlock()
	switch name {
	case "pause":
		s.calls[0]++
	case "unpause":
		s.calls[1]++
	}
	fault := s.faults[name]
	if fault.left == 0 {
		return "ok"
	}
	fault.left--
	s.faults[name] = fault
	return fault.kind
}

func (s *switches) state() string {
	s.lock.Lock()
	calls := s.calls
	s.lock.Unlock()
	s.gate.lock.Lock()
	defer s.gate.lock.Unlock()
	state, _ := json.Marshal(map[string]any{"paused": !s.gate.open, "outstanding": s.gate.outstanding,
		"held": s.gate.held, "refused": s.gate.refused, "puts": atomic.LoadInt64(&s.puts),
		"pauses": calls[0], "unpauses": calls[1]})
	return string(state)
}

func (s *switches) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch words := string(body); words {
	case "restart":
		log.Print("restart")
		os.Exit(1)
	case "state":
		fmt.Fprintln(w, s.state())
	default:
		if err := s.apply(words); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		log.Printf("switched: %s", words)
	}
}

// flip tells the server of this pod.
func flip(words []string) error {
	answer, err := http.Post("http://"+switchAddress, "text/plain", strings.NewReader(strings.Join(words, " ")))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", strings.TrimSpace(string(said)))
	} else if err == nil {
		_, err = os.Stdout.Write(said)
	}
	return err
}
