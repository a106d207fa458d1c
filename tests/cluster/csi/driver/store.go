package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

type volume struct {
	ID     string    `json:"id"`
	Bytes  int64     `json:"bytes"`
	Source string    `json:"source,omitempty"`
	FSType string    `json:"fsType,omitempty"` // empty: not formatted yet
	Grow   bool      `json:"grow,omitempty"`   // larger than the file system in it
	Made   time.Time `json:"made"`
}

type snapshot struct {
	ID         string    `json:"id"`
	Volume     string    `json:"volume"`
	Bytes      int64     `json:"bytes"`
	FSType     string    `json:"fsType,omitempty"`
	CutBegin   time.Time `json:"cutBegin"`
	CutEnd     time.Time `json:"cutEnd"`
	ReadyAt    time.Time `json:"readyAt"`
	NeverReady bool      `json:"neverReady,omitempty"`
}

func (s *snapshot) ready() bool { return !s.NeverReady && !time.Now().Before(s.ReadyAt) }

// attempts counts the calls for a snapshot that were answered with an error.
type attempts struct {
	Errors int `json:"errors"`
}

// store keeps one JSON file per volume, snapshot and failed attempt in the
// state folder, and the images under the same ids in the folder of images.
type store struct{ state, images string }

const (
	volumes   = "volumes"
	snapshots = "snapshots"
	failures  = "failures"
)

func openStore(state, images string) (*store, error) {
	for _, dir := range []string{
		filepath.Join(state, volumes), filepath.Join(state, snapshots), filepath.Join(state, failures),
		filepath.Join(images, volumes), filepath.Join(images, snapshots),
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	return &store{state: state, images: images}, nil
}

var plainID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func (s *store) file(kind, id string) string  { return filepath.Join(s.state, kind, id+".json") }
func (s *store) image(kind, id string) string { return filepath.Join(s.images, kind, id+".img") }

// load fills value, and says false when there is no such object.
func (s *store) load(kind, id string, value any) (bool, error) {
	if !plainID.MatchString(id) {
		return false, nil
	}
	data, err := os.ReadFile(s.file(kind, id))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, json.Unmarshal(data, value)
}

func (s *store) save(kind, id string, value any) error {
	if !plainID.MatchString(id) {
		return fmt.Errorf("%q cannot be an id", id)
	}
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	// A leading dot keeps half-written files out of the listings that tests make.
	draft := filepath.Join(s.state, kind, "."+id)
	if err := os.WriteFile(draft, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(draft, s.file(kind, id))
}

// remove deletes the image last: an image without metadata is never offered.
func (s *store) remove(kind, id string) error {
	if !plainID.MatchString(id) {
		return nil
	}
	for _, path := range []string{s.file(kind, id), s.image(kind, id)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (s *store) list(kind string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(s.state, kind, "[A-Za-z0-9]*.json"))
	for i, file := range files {
		name := filepath.Base(file)
		files[i] = name[:len(name)-len(".json")]
	}
	return files, err
}

func createImage(path string, bytes int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Truncate(bytes)
}

// reflink makes to a copy of from at one instant. The kernel holds off writes
// to from meanwhile, and takes along all that reached the loop device.
func reflink(from, to string) (begin, end time.Time, err error) {
	source, err := os.Open(from)
	if err != nil {
		return
	}
	defer source.Close()
	target, err := os.Create(to)
	if err != nil {
		return
	}
	defer target.Close()
	begin = time.Now()
	err = unix.IoctlFileClone(int(target.Fd()), int(source.Fd()))
	end = time.Now()
	if err != nil {
		os.Remove(to)
	}
	return
}

// busy lets one call at a time work on an object; others are told to retry.
type busy struct {
	mu  sync.Mutex
	ids map[string]bool
}

func newBusy() *busy { return &busy{ids: map[string]bool{}} }

func (b *busy) begin(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ids[id] {
		return false
	}
	b.ids[id] = true
	return true
}

func (b *busy) end(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.ids, id)
}
