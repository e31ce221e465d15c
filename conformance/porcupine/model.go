package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// unknown stands for a number that nobody was told.
const unknown = -1

// state is the whole store: its revision and its keys. It is never changed, only replaced.
type state struct {
	revision int64
	rows     map[string]held
}

type held struct {
	value    string
	modified int64
	lease    int64
}

func model() porcupine.Model {
	nondeterministic := porcupine.NondeterministicModel{
		Init: func() []any { return []any{state{revision: 1}} },
		Step: func(from, input, output any) []any {
			return step(from.(state), input.(ask), output.(answer))
		},
		Equal: func(one, other any) bool {
			left, right := one.(state), other.(state)
			return left.revision == right.revision && maps.Equal(left.rows, right.rows)
		},
		Hash: func(of any) uint64 { return uint64(of.(state).revision) },
		DescribeOperation: func(input, output any) string {
			return fmt.Sprintf("%s -> %+v", describe(input.(ask)), output.(answer))
		},
		DescribeState: func(of any) string { return fmt.Sprintf("%+v", of.(state)) },
	}
	return nondeterministic.ToModel()
}

func describe(asked ask) string {
	text := asked.Kind
	if asked.Guard != nil {
		text += fmt.Sprintf(" if %s@%d", asked.Guard.Key, asked.Guard.Modified)
	}
	for _, one := range asked.Puts {
		text += fmt.Sprintf(" put %s=%s", one.Key, one.Value)
	}
	for _, key := range asked.Deletes {
		text += " delete " + key
	}
	return text + " " + asked.Key
}

// step returns the states that may follow; none when the answer can't be.
func step(from state, asked ask, told answer) []any {
	switch asked.Kind {
	case "read":
		if told.Revision == from.revision && slices.Equal(told.Rows, from.read(asked.Key, asked.Prefix)) {
			return []any{from}
		}
		return nil
	case "revoke":
		return []any{from.revoke(asked.Lease)}
	case "write":
		return from.write(asked, told)
	}
	return nil
}

func (from state) write(asked ask, told answer) []any {
	if asked.Guard != nil {
		modified := from.rows[asked.Guard.Key].modified
		if holds := modified == asked.Guard.Modified; !holds {
			switch {
			case told.Succeeded || told.Revision != from.revision:
				return nil
			case !slices.Equal(told.Rows, from.read(asked.Guard.Key, false)):
				return nil
			}
			return []any{from}
		}
	}
	to, deleted := from.change(asked)
	if !told.Succeeded || told.Revision != to.revision {
		return nil
	}
	if told.Deleted != unknown && told.Deleted != deleted {
		return nil
	}
	return []any{to}
}

func (from state) change(asked ask) (state, int64) {
	to := state{revision: from.revision, rows: make(map[string]held, len(from.rows)+1)}
	maps.Copy(to.rows, from.rows)
	var deleted int64
	for _, key := range asked.Deletes {
		if _, there := to.rows[key]; there {
			delete(to.rows, key)
			deleted++
		}
	}
	if deleted > 0 || len(asked.Puts) > 0 {
		to.revision++
	}
	for _, one := range asked.Puts {
		to.rows[one.Key] = held{value: one.Value, modified: to.revision, lease: one.Lease}
	}
	return to, deleted
}

func (from state) revoke(lease int64) state {
	to := state{revision: from.revision, rows: make(map[string]held, len(from.rows))}
	for key, of := range from.rows {
		if of.lease != lease {
			to.rows[key] = of
		}
	}
	if len(to.rows) < len(from.rows) {
		to.revision++
	}
	return to
}

func (from state) read(key string, prefix bool) []row {
	rows := []row{}
	for name, of := range from.rows {
		if name == key || (prefix && strings.HasPrefix(name, key)) {
			rows = append(rows, row{Key: name, Value: of.value, Modified: of.modified})
		}
	}
	slices.SortFunc(rows, func(one, other row) int { return strings.Compare(one.Key, other.Key) })
	return rows
}
