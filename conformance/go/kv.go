package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func putGetDelete(ctx context.Context, client *clientv3.Client) error {
	first, err := client.Put(ctx, "kv/a", "1")
	if err != nil {
		return err
	}
	second, err := client.Put(ctx, "kv/a", "2", clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	if err := expect(second.PrevKv != nil && string(second.PrevKv.Value) == "1", "previous %v", second.PrevKv); err != nil {
		return err
	}
	if err := expect(second.Header.Revision == first.Header.Revision+1, "revisions %d, %d", first.Header.Revision, second.Header.Revision); err != nil {
		return err
	}
	got, err := client.Get(ctx, "kv/a")
	if err != nil {
		return err
	}
	if err := expect(len(got.Kvs) == 1 && got.Kvs[0].Version == 2 && got.Kvs[0].CreateRevision == first.Header.Revision, "got %v", got.Kvs); err != nil {
		return err
	}
	old, err := client.Get(ctx, "kv/a", clientv3.WithRev(first.Header.Revision))
	if err != nil {
		return err
	}
	if err := expect(string(old.Kvs[0].Value) == "1", "old value %s", old.Kvs[0].Value); err != nil {
		return err
	}
	deleted, err := client.Delete(ctx, "kv/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	return expect(deleted.Deleted == 1 && len(deleted.PrevKvs) == 1, "deleted %v", deleted)
}

func getOptions(ctx context.Context, client *clientv3.Client) error {
	for _, key := range []string{"c", "a", "b", "d"} {
		if _, err := client.Put(ctx, "opt/"+key, "v"+key); err != nil {
			return err
		}
	}
	cases := []struct {
		options []clientv3.OpOption
		want    string
	}{
		{nil, "opt/a opt/b opt/c opt/d"},
		{[]clientv3.OpOption{clientv3.WithLimit(2)}, "opt/a opt/b more"},
		{[]clientv3.OpOption{clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)}, "opt/d opt/c opt/b opt/a"},
		{clientv3.WithFirstCreate(), "opt/c more"},
		{clientv3.WithLastRev(), "opt/d more"},
		{[]clientv3.OpOption{clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortAscend)}, "opt/c opt/a opt/b opt/d"},
		{[]clientv3.OpOption{clientv3.WithSerializable(), clientv3.WithKeysOnly()}, "opt/a opt/b opt/c opt/d"},
		{[]clientv3.OpOption{clientv3.WithCountOnly()}, ""},
	}
	for number, c := range cases {
		options := append([]clientv3.OpOption{clientv3.WithPrefix()}, c.options...)
		got, err := client.Get(ctx, "opt/", options...)
		if err != nil {
			return err
		}
		var words []string
		for _, kv := range got.Kvs {
			words = append(words, string(kv.Key))
		}
		if got.More {
			words = append(words, "more")
		}
		if text := strings.Join(words, " "); text != c.want || got.Count != 4 {
			return fmt.Errorf("case %d: %q of %d instead of %q", number, text, got.Count, c.want)
		}
	}
	return nil
}

func compareAndSwap(ctx context.Context, client *clientv3.Client) error {
	created, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision("cas"), "=", 0)).
		Then(clientv3.OpPut("cas", "0")).
		Else(clientv3.OpGet("cas")).
		Commit()
	if err != nil {
		return err
	}
	if err := expect(created.Succeeded, "not created: %v", created); err != nil {
		return err
	}
	lost, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision("cas"), "=", created.Header.Revision-1)).
		Then(clientv3.OpPut("cas", "1")).
		Else(clientv3.OpGet("cas"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("cas/n", "x")}, nil)).
		Commit()
	if err != nil {
		return err
	}
	seen := lost.Responses[0].GetResponseRange()
	return expect(!lost.Succeeded && string(seen.Kvs[0].Value) == "0" && lost.Responses[1].GetResponseTxn().Succeeded, "%v", lost)
}

func typedErrors(ctx context.Context, client *clientv3.Client) error {
	_, empty := client.Put(ctx, "", "x")
	_, lease := client.Put(ctx, "err", "x", clientv3.WithLease(12345))
	_, future := client.Get(ctx, "err", clientv3.WithRev(1<<40))
	_, missing := client.Put(ctx, "err/none", "", clientv3.WithIgnoreValue())
	_, twice := client.Txn(ctx).Then(clientv3.OpPut("err", "1"), clientv3.OpPut("err", "2")).Commit()
	_, large := client.Put(ctx, "err", strings.Repeat("x", 1600000))
	_, revoke := client.Revoke(ctx, 12345)
	for _, pair := range [][2]error{
		{empty, rpctypes.ErrEmptyKey},
		{lease, rpctypes.ErrLeaseNotFound},
		{future, rpctypes.ErrFutureRev},
		{missing, rpctypes.ErrKeyNotFound},
		{twice, rpctypes.ErrDuplicateKey},
		{large, rpctypes.ErrRequestTooLarge},
		{revoke, rpctypes.ErrLeaseNotFound},
	} {
		if !errors.Is(pair[0], pair[1]) {
			return fmt.Errorf("%v instead of %v", pair[0], pair[1])
		}
	}
	return nil
}

func compaction(ctx context.Context, client *clientv3.Client) error {
	old, err := client.Put(ctx, "compact", "1")
	if err != nil {
		return err
	}
	last, err := client.Put(ctx, "compact", "2")
	if err != nil {
		return err
	}
	if _, err := client.Compact(ctx, last.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		return err
	}
	_, err = client.Get(ctx, "compact", clientv3.WithRev(old.Header.Revision))
	if !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("a compacted read gives %v", err)
	}
	_, err = client.Compact(ctx, last.Header.Revision)
	if !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("a second compaction gives %v", err)
	}
	return nil
}

// More than gRPC's default of 4 MiB in one answer.
func largeAnswers(ctx context.Context, client *clientv3.Client) error {
	value := bytes.Repeat([]byte("large"), 200000)
	for number := range 8 {
		if _, err := client.Put(ctx, fmt.Sprintf("large/%d", number), string(value)); err != nil {
			return err
		}
	}
	got, err := client.Get(ctx, "large/", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	for _, kv := range got.Kvs {
		if !bytes.Equal(kv.Value, value) {
			return fmt.Errorf("%s is not what was written", kv.Key)
		}
	}
	if err := expect(len(got.Kvs) == 8, "%d keys", len(got.Kvs)); err != nil {
		return err
	}
	_, err = client.Delete(ctx, "large/", clientv3.WithPrefix())
	return err
}
