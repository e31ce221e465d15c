package main

import (
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

func read(call, back int64, revision int64, rows ...row) operation {
	if rows == nil {
		rows = []row{}
	}
	return operation{Call: call, Return: back, Ask: ask{Kind: "read", Key: "k"},
		Told: answer{Known: true, Revision: revision, Rows: rows}}
}

func write(call, back int64, value string, revision int64) operation {
	return operation{Call: call, Return: back,
		Ask:  ask{Kind: "write", Puts: []put{{Key: "k", Value: value}}},
		Told: answer{Known: back > 0, Revision: revision, Succeeded: true}}
}

func verdict(recorded history) porcupine.CheckResult {
	result, _, _ := check(recorded)
	return result
}

func TestWhatIsLinearizable(t *testing.T) {
	a := row{Key: "k", Value: "a", Modified: 2}
	b := row{Key: "k", Value: "b", Modified: 3}
	ended := func(call, back, revision int64) operation {
		return operation{Call: call, Return: back, Ask: ask{Kind: "revoke", Lease: 7},
			Told: answer{Known: back > 0, Revision: revision}}
	}
	leased := write(1, 2, "a", 2)
	leased.Ask.Puts[0].Lease = 7
	again := write(15, 16, "b", 4)
	twice := []deletion{{Revision: 3, Keys: []string{"k"}, Lease: 7}, {Revision: 5, Keys: []string{"k"}}}
	gone := operation{Call: 10, Return: 0, Ask: ask{Kind: "write", Deletes: []string{"k"}}}
	for name, one := range map[string]struct {
		good       bool
		persisted  map[string]int64
		operations []operation
		deletions  []deletion
	}{
		"a read after its write":                         {true, nil, []operation{write(1, 2, "a", 2), read(3, 4, 2, a)}, nil},
		"a read beside a write sees either":              {true, nil, []operation{write(1, 2, "a", 2), write(3, 9, "b", 3), read(4, 8, 2, a), read(5, 6, 3, b)}[:3], nil},
		"a stale read":                                   {false, nil, []operation{write(1, 2, "a", 2), write(3, 4, "b", 3), read(5, 6, 2, a)}, nil},
		"a read that goes back":                          {false, nil, []operation{write(1, 2, "a", 2), write(3, 9, "b", 3), read(4, 5, 3, b), read(6, 7, 2, a)}, nil},
		"a lost write":                                   {false, nil, []operation{write(1, 2, "a", 2), read(3, 4, 1)}, nil},
		"a revision twice":                               {false, nil, []operation{write(1, 2, "a", 2), write(3, 4, "b", 2)}, nil},
		"a revision left out":                            {false, nil, []operation{write(1, 2, "a", 2), write(3, 4, "b", 4)}, nil},
		"no answer, and it happened":                     {true, map[string]int64{"a": 2}, []operation{write(1, 0, "a", 0), read(3, 4, 2, a)}, nil},
		"no answer, and it did not":                      {true, nil, []operation{write(1, 0, "a", 0), read(3, 4, 1)}, nil},
		"no answer, seen, then gone":                     {false, map[string]int64{"a": 2}, []operation{write(1, 0, "a", 0), read(3, 4, 2, a), read(5, 6, 1)}, nil},
		"a deletion without an answer":                   {true, nil, []operation{write(1, 2, "a", 2), gone, read(11, 12, 3)}, []deletion{{Revision: 3, Keys: []string{"k"}}}},
		"a deletion that nobody asked for":               {false, nil, []operation{write(1, 2, "a", 2), read(11, 12, 3)}, []deletion{{Revision: 3, Keys: []string{"k"}}}},
		"a deletion beside the end of another lease":     {true, nil, []operation{write(1, 2, "a", 2), gone, ended(11, 12, 3), read(13, 14, 3)}, []deletion{{Revision: 3, Keys: []string{"k"}}}},
		"a deletion before the end of its lease":         {true, nil, []operation{leased, gone, read(11, 12, 3), ended(13, 0, 0)}, []deletion{{Revision: 3, Keys: []string{"k"}, Lease: 7}}},
		"the same, and the end was told":                 {true, nil, []operation{leased, gone, read(11, 12, 3), ended(13, 14, 3)}, []deletion{{Revision: 3, Keys: []string{"k"}, Lease: 7}}},
		"two deletions, the end of the lease is the one": {true, nil, []operation{leased, gone, ended(11, 0, 0), again, read(17, 18, 5)}, twice},
		"two deletions, one maker":                       {false, nil, []operation{leased, gone, again, read(17, 18, 5)}, twice},
		"a deletion seen before it was asked for":        {false, nil, []operation{write(1, 2, "a", 2), read(3, 4, 3), gone}, []deletion{{Revision: 3, Keys: []string{"k"}}}},
		"a deletion that may come late":                  {true, nil, []operation{write(1, 2, "a", 2), gone, read(11, 12, 2, a), read(13, 14, 3)}, []deletion{{Revision: 3, Keys: []string{"k"}}}},
	} {
		want := porcupine.Illegal
		if one.good {
			want = porcupine.Ok
		}
		if got := verdict(history{Operations: one.operations, Persisted: one.persisted, Deletions: one.deletions}); got != want {
			t.Errorf("%s: %s, not %s", name, got, want)
		}
	}
}

func TestWhereAnOrderEnds(t *testing.T) {
	a := row{Key: "k", Value: "a", Modified: 2}
	recorded := history{Operations: []operation{write(1, 2, "a", 2), write(3, 4, "b", 3), read(5, 6, 2, a)}}
	_, info, operations := check(recorded)
	text := stuck(info, operations)
	want := []string{"in order: client 0, 1-2: write put k=a", "in order: client 0, 3-4: write put k=b",
		"does not follow: client 0, 5-6: read k"}
	for number, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if number >= len(want) || !strings.HasPrefix(line, want[number]) {
			t.Errorf("line %d: %s", number, line)
		}
	}
}

func TestConditionsAndLeases(t *testing.T) {
	guarded := func(modified int64, told answer) operation {
		return operation{Call: 3, Return: 4, Told: told, Ask: ask{Kind: "write",
			Guard: &guard{Key: "k", Modified: modified}, Puts: []put{{Key: "k", Value: "b", Lease: 7}}}}
	}
	a := row{Key: "k", Value: "a", Modified: 2}
	done := answer{Known: true, Revision: 3, Succeeded: true}
	refused := answer{Known: true, Revision: 2, Rows: []row{a}}
	revoked := operation{Call: 5, Return: 6, Ask: ask{Kind: "revoke", Lease: 7}, Told: answer{Known: true}}
	for name, one := range map[string]struct {
		good       bool
		operations []operation
	}{
		"the condition held":               {true, []operation{write(1, 2, "a", 2), guarded(2, done)}},
		"it did not hold":                  {true, []operation{write(1, 2, "a", 2), guarded(1, refused)}},
		"done though it did not hold":      {false, []operation{write(1, 2, "a", 2), guarded(1, done)}},
		"refused though it held":           {false, []operation{write(1, 2, "a", 2), guarded(2, refused)}},
		"a lease takes its keys with it":   {true, []operation{write(1, 2, "a", 2), guarded(2, done), revoked, read(7, 8, 4)}},
		"a lease that leaves its key":      {false, []operation{write(1, 2, "a", 2), guarded(2, done), revoked, read(7, 8, 3, row{Key: "k", Value: "b", Modified: 3})}},
		"a lease that takes another's key": {false, []operation{write(1, 2, "a", 2), revoked, read(7, 8, 3)}},
	} {
		want := porcupine.Illegal
		if one.good {
			want = porcupine.Ok
		}
		if got := verdict(history{Operations: one.operations}); got != want {
			t.Errorf("%s: %s, not %s", name, got, want)
		}
	}
}
