package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The writer of a stand-in for ScalarDB or ScalarDL (../scalar-standin): several at once, as a server that is paused
// must have requests to wait for. What a request does not do, for a pause or a dead pod, the next number tries.
type scalar struct {
	url      string
	patience time.Duration
	next     atomic.Int64
	lock     sync.Mutex // of acks
	acks     *journal
}

// Requests of a connection, which ends up at any one pod of the Service: pods that are new get some soon.
const perConnection = 10

// runScalar never returns.
func runScalar() {
	writers, err := strconv.Atoi(env("SCALAR_WRITERS", "6"))
	if err != nil {
		log.Fatal(err)
	}
	acks, err := openJournal(env("LOG_FOLDER", "/log"))
	if err != nil {
		log.Fatal(err)
	}
	s := &scalar{url: "http://" + serviceAddress(os.Getenv("SERVICE")), patience: duration("WRITE_TIMEOUT", 30*time.Second), acks: acks}
	highest := s.highest()
	s.next.Store(max(acks.next, highest+1))
	log.Printf("connected, going on with %d", s.next.Load())
	pause := duration("WRITE_INTERVAL", 30*time.Millisecond)
	for range writers {
		go s.write(pause)
	}
	select {}
}

func (s *scalar) client() *http.Client {
	// Of a connect: one to a pod that is gone would else hang until the write's deadline.
	dialer := net.Dialer{Timeout: time.Second}
	return &http.Client{Timeout: s.patience, Transport: &http.Transport{DialContext: dialer.DialContext}}
}

func (s *scalar) highest() int64 {
	for {
		client := s.client()
		response, err := client.Get(s.url + "/highest")
		said, err := answer(response, err)
		client.CloseIdleConnections()
		if err == nil {
			var highest int64
			if highest, err = strconv.ParseInt(said, 10, 64); err == nil {
				return highest
			}
		}
		log.Printf("no connection: %v", err)
		time.Sleep(100 * time.Millisecond)
	}
}

func (s *scalar) write(pause time.Duration) {
	client := s.client()
	for i := 1; ; i++ {
		n := s.next.Add(1) - 1 // also after an error: an unanswered write may have happened
		begin := time.Now()
		response, err := client.Post(fmt.Sprintf("%s/put?n=%d&t=%d", s.url, n, begin.UnixNano()), "", nil)
		_, err = answer(response, err)
		end := time.Now()
		if err != nil {
			log.Printf("fail %d %d %d %v", n, begin.UnixNano(), end.UnixNano(), err)
		} else {
			s.lock.Lock()
			if err := s.acks.add(n, begin, end); err != nil {
				log.Fatal(err)
			}
			s.lock.Unlock()
		}
		if err != nil || i%perConnection == 0 {
			client.CloseIdleConnections()
		}
		time.Sleep(pause)
	}
}

// answer gives what was said, if the request was done.
func answer(response *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	said := strings.TrimSpace(string(body))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, said)
	}
	return said, err
}
