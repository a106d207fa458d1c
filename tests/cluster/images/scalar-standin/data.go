package main

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// data lets the writer's requests through the gate to the rows: POST /put?n=NUMBER&t=NANOSECONDS, and GET /highest. An
// answer of 200 is given after the commit, 503 where ScalarDB says that it is paused. A request goes on when its caller
// is gone, as those of the real servers do.
type data struct {
	gate     *gate
	switches *switches
	rows     *rows
}

func (d *data) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !d.gate.letIn() {
		http.Error(w, "the server is paused", http.StatusServiceUnavailable)
		return
	}
	answer, err := d.serve(r)
	d.gate.letOut()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, answer)
}

func (d *data) serve(r *http.Request) (int64, error) {
	if r.Method == http.MethodGet && r.URL.Path == "/highest" {
		return d.rows.highest()
	}
	if r.Method != http.MethodPost || r.URL.Path != "/put" {
		return 0, fmt.Errorf("%s %s: only POST /put and GET /highest", r.Method, r.URL.Path)
	}
	n, err := strconv.ParseInt(r.FormValue("n"), 10, 64)
	if err != nil {
		return 0, err
	}
	t, err := strconv.ParseInt(r.FormValue("t"), 10, 64)
	if err != nil {
		return 0, err
	}
	time.Sleep(time.Duration(atomic.LoadInt64(&d.switches.drain)))
	if err := d.rows.put(n, t); err != nil {
		return 0, err
	}
	atomic.AddInt64(&d.switches.puts, 1)
	return n, nil
}
