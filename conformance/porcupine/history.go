package main

import (
	"math"
	"slices"

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
	made := deletionsMade(recorded)
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

// deletionsMade finds the deletions behind ends of leases and deletes without an answer: by number
// of the operation its revision.
func deletionsMade(recorded history) map[int]int64 {
	answered := make(map[int64]bool)
	for _, one := range recorded.Operations {
		if one.Told.Known && (one.Ask.Kind == "revoke" || (one.Ask.Kind == "write" && one.Told.Deleted > 0)) {
			answered[one.Told.Revision] = true
		}
	}
	made := make(map[int]int64)
	for _, gone := range recorded.Deletions {
		if answered[gone.Revision] {
			continue
		}
		if number := maker(recorded, gone, made); number >= 0 {
			made[number] = gone.Revision
		}
	}
	return made
}

// maker is the end of the lease that held the keys, else the delete that was asked first: of two
// that ask for the same it could have been any, and the first could have been at any time at
// which another could. -1: nobody.
func maker(recorded history, gone deletion, made map[int]int64) int {
	found := -1
	for number, one := range recorded.Operations {
		if _, taken := made[number]; taken || one.Told.Known {
			continue
		}
		if one.Ask.Kind == "revoke" && gone.Lease != 0 && one.Ask.Lease == gone.Lease {
			return number
		}
		deletes := one.Ask.Kind == "write" && len(one.Ask.Puts) == 0
		if deletes && slices.Equal(one.Ask.Deletes, gone.Keys) &&
			(found < 0 || one.Call < recorded.Operations[found].Call) {
			found = number
		}
	}
	return found
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
