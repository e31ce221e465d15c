package main

import "slices"

// makers finds who made the deletions: by number of the operation its revision. An answer may
// name its deletion. Of several operations without an answer each could have been the one, if it
// was asked before the deletion was first seen; each made one at most. Any choice that leaves no
// deletion without its maker is as good as another, as all of them begin before, and end with,
// what is first seen; so one is looked for as a matching in a graph: augmenting paths (Kuhn).
func makers(recorded history) map[int]int64 {
	search := matching{made: make(map[int]int64), candidates: make(map[int64][]int)}
	for _, gone := range recorded.Deletions {
		search.candidates[gone.Revision] = candidates(recorded, gone)
	}
	for _, gone := range recorded.Deletions {
		search.tried = make(map[int]bool)
		search.find(gone.Revision)
	}
	return search.made
}

type matching struct {
	made       map[int]int64
	candidates map[int64][]int
	tried      map[int]bool
}

// find gives a deletion its maker; who has one already may have to take another.
func (search *matching) find(revision int64) bool {
	for _, number := range search.candidates[revision] {
		if search.tried[number] {
			continue
		}
		search.tried[number] = true
		other, taken := search.made[number]
		if !taken || search.find(other) {
			search.made[number] = revision
			return true
		}
	}
	return false
}

// candidates are all that may have made a deletion, those whose answers name it first: they can
// have made no other.
func candidates(recorded history, gone deletion) []int {
	seen := firstSeen(recorded, gone.Revision, -1)
	var named, silent []int
	for number, one := range recorded.Operations {
		switch {
		case !deletes(one, gone) || one.Call > seen:
		case !one.Told.Known:
			silent = append(silent, number)
		case one.Told.Revision == gone.Revision:
			named = append(named, number)
		}
	}
	return append(named, silent...)
}

// deletes says whether an operation, by what it asks and is told, can have made a deletion.
func deletes(one operation, gone deletion) bool {
	if one.Ask.Kind == "revoke" {
		return gone.Lease != 0 && one.Ask.Lease == gone.Lease
	}
	took := !one.Told.Known || one.Told.Deleted > 0
	return one.Ask.Kind == "write" && len(one.Ask.Puts) == 0 && took && slices.Equal(one.Ask.Deletes, gone.Keys)
}
