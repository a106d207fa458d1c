// Command writer writes numbered rows to a database without end, and logs what
// was acknowledged and when, so that a test can tell what a copy must contain.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"
)

// database is one connection to a database that the writer may lose.
type database interface {
	// prepare makes the table when it is missing, and gives the highest number in it.
	prepare(ctx context.Context) (int64, error)
	write(ctx context.Context, n, unixNano int64) error
}

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	log.SetOutput(os.Stdout)
	switch os.Getenv("WRITER") {
	case "bank":
		runBank()
	case "scalar":
		runScalar()
	}
	interval, patience := duration("WRITE_INTERVAL", 5*time.Millisecond), duration("WRITE_TIMEOUT", 30*time.Second)
	db, err := open(os.Getenv("WRITER"))
	if err != nil {
		log.Fatal(err)
	}
	acks, err := openJournal(env("LOG_FOLDER", "/log"))
	if err != nil {
		log.Fatal(err)
	}

	next := acks.next
	ready := false
	tick := time.NewTicker(interval)
	for range tick.C {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if !ready {
			highest, err := db.prepare(ctx)
			if err != nil {
				log.Printf("no connection: %v", err)
				cancel()
				time.Sleep(100 * time.Millisecond)
				continue
			}
			next = max(next, highest+1)
			log.Printf("connected, going on with %d", next)
			ready = true
		}
		n := next
		next++ // also after an error: an unanswered write may have happened
		begin := time.Now()
		err := db.write(ctx, n, begin.UnixNano())
		end := time.Now()
		cancel()
		if err != nil {
			log.Printf("fail %d %d %d %v", n, begin.UnixNano(), end.UnixNano(), err)
			ready = false
			continue
		}
		if err := acks.add(n, begin, end); err != nil {
			log.Fatal(err)
		}
		if n%10000 == 0 {
			log.Printf("acknowledged up to %d", n)
		}
	}
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func duration(name string, otherwise time.Duration) time.Duration {
	value := os.Getenv(name)
	if value == "" {
		return otherwise
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		log.Fatal(fmt.Errorf("%s: %w", name, err))
	}
	return d
}
