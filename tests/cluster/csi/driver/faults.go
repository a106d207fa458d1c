package main

import (
	"fmt"
	"strconv"
	"time"
)

// faults is what a VolumeSnapshotClass asks for in its parameters.
type faults struct {
	cutDelay      time.Duration // wait, then cut, then answer
	uploadDelay   time.Duration // not ready to use for so long after the cut
	errors        int           // so many errors before the cut
	alwaysError   bool
	errorAfterCut bool // cut, then answer with an error once
	neverAnswer   bool // no cut, no answer
	neverReady    bool
}

func parseFaults(parameters map[string]string) (faults, error) {
	var f faults
	for key, value := range parameters {
		var err error
		switch key {
		case "cutDelay":
			f.cutDelay, err = time.ParseDuration(value)
		case "uploadDelay":
			f.uploadDelay, err = time.ParseDuration(value)
		case "errors":
			f.errors, err = strconv.Atoi(value)
		case "alwaysError":
			f.alwaysError, err = strconv.ParseBool(value)
		case "errorAfterCut":
			f.errorAfterCut, err = strconv.ParseBool(value)
		case "neverAnswer":
			f.neverAnswer, err = strconv.ParseBool(value)
		case "neverReady":
			f.neverReady, err = strconv.ParseBool(value)
		default:
			err = fmt.Errorf("no such parameter")
		}
		if err != nil {
			return f, fmt.Errorf("parameter %s: %q: %w", key, value, err)
		}
	}
	return f, nil
}
