package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// journal is the file of acknowledgements, one line each:
// ack NUMBER UNIX-NANOSECONDS-START UNIX-NANOSECONDS-ACK
type journal struct {
	file *os.File
	next int64
}

// Numbers that were used without an acknowledgement are not in the journal:
// a gap keeps a restarted writer clear of them.
const gap = 1000

func openJournal(folder string) (*journal, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(folder, "acks")
	next := int64(1)
	if data, err := os.ReadFile(path); err == nil {
		if at := bytes.LastIndex(data, []byte("ack ")); at >= 0 {
			var last int64
			if _, err := fmt.Sscanf(string(data[at:]), "ack %d ", &last); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			next = last + gap
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	return &journal{file: file, next: next}, err
}

func (j *journal) add(n int64, begin, end time.Time) error {
	_, err := fmt.Fprintf(j.file, "ack %d %d %d\n", n, begin.UnixNano(), end.UnixNano())
	return err
}
