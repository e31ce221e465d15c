// Porcupine over a recorded history: prints a verdict, and ends with 0 when the history is
// linearizable, with 1 when it is not, with 2 when that could not be decided in time.
//
// usage: porcupine HISTORY.json PICTURE.html
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
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
	result, info, operations := check(recorded)
	fmt.Printf("%s: %d operations, %s\n", result, len(operations), time.Since(begun).Round(time.Millisecond))
	switch result {
	case porcupine.Ok:
		return
	case porcupine.Illegal:
		fmt.Fprint(os.Stderr, stuck(info, operations))
		if err := porcupine.VisualizePath(model(), info, os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	default:
		os.Exit(2)
	}
}

// shown is how many operations before and after the point where the search ends are printed.
const shown = 6

// stuck says where the longest order that was found ends, and what could not follow. The picture
// shows all of it, but does not leave the machine.
func stuck(info porcupine.LinearizationInfo, operations []porcupine.Operation) string {
	var longest []int
	for _, part := range info.PartialLinearizations() {
		for _, order := range part {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	placed := make(map[int]bool)
	for _, number := range longest {
		placed[number] = true
	}
	var rest []int
	for number := range operations {
		if !placed[number] {
			rest = append(rest, number)
		}
	}
	slices.SortFunc(rest, func(one, other int) int {
		return cmp.Compare(operations[one].Call, operations[other].Call)
	})
	var text strings.Builder
	line := func(what string, number int) {
		one := operations[number]
		fmt.Fprintf(&text, "%s client %d, %d-%d: %s\n", what, one.ClientId, one.Call, one.Return,
			model().DescribeOperation(one.Input, one.Output))
	}
	for _, number := range longest[max(0, len(longest)-shown):] {
		line("in order:", number)
	}
	for _, number := range rest[:min(shown, len(rest))] {
		line("does not follow:", number)
	}
	return text.String()
}

// check also returns the operations that it has judged.
func check(recorded history) (porcupine.CheckResult, porcupine.LinearizationInfo, []porcupine.Operation) {
	operations := settled(recorded)
	result, info := porcupine.CheckOperationsVerbose(model(), operations, limit)
	return result, info, operations
}
