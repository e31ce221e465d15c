// Porcupine over a recorded history: prints a verdict, and ends with 0 when the history is
// linearizable, with 1 when it is not, with 2 when that could not be decided in time.
//
// usage: porcupine HISTORY.json PICTURE.html
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/anishathalye/porcupine"
)

// A history of some thousand operations takes seconds.
const limit = 2 * time.Minute

// A search that grows beyond this is given up: others live on this machine too.
const memory = 4 << 30

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: porcupine HISTORY.json PICTURE.html")
		os.Exit(3)
	}
	bound := syscall.Rlimit{Cur: memory, Max: memory}
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &bound); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	var recorded history
	if err := json.Unmarshal(text, &recorded); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	begun := time.Now()
	result, info, size := check(recorded)
	fmt.Printf("%s: %d operations, %s\n", result, size, time.Since(begun).Round(time.Millisecond))
	switch result {
	case porcupine.Ok:
		return
	case porcupine.Illegal:
		if err := porcupine.VisualizePath(model(), info, os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	default:
		os.Exit(2)
	}
}

func check(recorded history) (porcupine.CheckResult, porcupine.LinearizationInfo, int) {
	operations := settled(recorded)
	result, info := porcupine.CheckOperationsVerbose(model(), operations, limit)
	return result, info, len(operations)
}
