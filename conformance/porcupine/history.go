package main

import (
	"math"

	"github.com/anishathalye/porcupine"
)

// history is what clients asked and were told, and which values the store has held.
type history struct {
	Operations []operation      `json:"operations"`
	Persisted  map[string]int64 `json:"persisted"` // by value, which is unique: its revision
	Deletions  []deletion       `json:"deletions"` // revisions that put nothing, in their order
}

type deletion struct {
	Revision int64    `json:"revision"`
	Keys     []string `json:"keys"`
	Lease    int64    `json:"lease"` // the one that held just these keys; 0: none
}

type operation struct {
	Client int    `json:"client"`
	Call   int64  `json:"call"`   // nanoseconds
	Return int64  `json:"return"` // 0 without an answer
	Ask    ask    `json:"ask"`
	Told   answer `json:"told"`
}

// ask is a read, a write or the end of a lease. A write of puts and deletes happens if its guard
// holds; otherwise the guard's key is read.
type ask struct {
	Kind    string   `json:"kind"` // read, write, revoke
	Key     string   `json:"key"`  // read: this one, or with Prefix all that begin so
	Prefix  bool     `json:"prefix"`
	Guard   *guard   `json:"guard"`
	Puts    []put    `json:"puts"`
	Deletes []string `json:"deletes"`
	Lease   int64    `json:"lease"`
}

type guard struct {
	Key      string `json:"key"`
	Modified int64  `json:"modified"`
}

type put struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	Lease int64  `json:"lease"`
}

type answer struct {
	Known     bool  `json:"known"` // false: it may have happened or not
	Revision  int64 `json:"revision"`
	Succeeded bool  `json:"succeeded"`
	Deleted   int64 `json:"deleted"`
	Rows      []row `json:"rows"`
}

type row struct {
	Key      string `json:"key"`
	Value    string `json:"value"`
	Modified int64  `json:"modified"`
}

const never = math.MaxInt64

// settled gives writes without an answer the one that the store proves: a value that was held
// was written, at that revision; a deletion that no answer explains was made by one that asked
// for it. What left no trace changed nothing, and is left out. So everything that remains has
// one revision, and the search stays small.
func settled(recorded history) []porcupine.Operation {
	made := makers(recorded)
	var operations []porcupine.Operation
	for number, one := range recorded.Operations {
		if !one.Told.Known {
			revision, happened := made[number]
			if len(one.Ask.Puts) > 0 {
				revision, happened = recorded.Persisted[one.Ask.Puts[0].Value]
			}
			if !happened {
				continue
			}
			one.Told = answer{Known: true, Revision: revision, Succeeded: true, Deleted: unknown}
			one.Return = firstSeen(recorded, revision, one.Call)
		}
		operations = append(operations, porcupine.Operation{
			ClientId: one.Client,
			Call:     one.Call,
			Return:   one.Return,
			Input:    one.Ask,
			Output:   one.Told,
		})
	}
	return operations
}

// firstSeen is when somebody was first told of this revision or a later one: it had happened.
func firstSeen(recorded history, revision, call int64) int64 {
	first := int64(never)
	for _, one := range recorded.Operations {
		if one.Told.Known && one.Told.Revision >= revision && one.Return > call && one.Return < first {
			first = one.Return
		}
	}
	return first
}
