package main

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// collect reads events until there are count of them.
func collect(watch clientv3.WatchChan, count int) ([]*clientv3.Event, error) {
	var events []*clientv3.Event
	for len(events) < count {
		response, open := <-watch
		if !open {
			return events, errors.New("the watch ended")
		}
		if err := response.Err(); err != nil {
			return events, err
		}
		events = append(events, response.Events...)
	}
	return events, nil
}

func watchPastAndNow(ctx context.Context, client *clientv3.Client) error {
	first, err := client.Put(ctx, "w/a", "1")
	if err != nil {
		return err
	}
	if _, err := client.Put(ctx, "w/a", "2"); err != nil {
		return err
	}
	now := client.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	if created := <-now; !created.Created {
		return fmt.Errorf("not created first: %v", created)
	}
	past := client.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(first.Header.Revision))
	if _, err := client.Delete(ctx, "w/a"); err != nil {
		return err
	}
	if _, err := client.Txn(ctx).Then(clientv3.OpPut("w/b", "1"), clientv3.OpPut("w/c", "1")).Commit(); err != nil {
		return err
	}
	live, err := collect(now, 3)
	if err != nil {
		return err
	}
	if err := expect(live[0].Type == clientv3.EventTypeDelete && string(live[0].PrevKv.Value) == "2", "first live %v", live[0]); err != nil {
		return err
	}
	if err := expect(live[1].IsCreate() && live[1].Kv.ModRevision == live[2].Kv.ModRevision, "txn %v", live[1:]); err != nil {
		return err
	}
	all, err := collect(past, 5)
	if err != nil {
		return err
	}
	return expect(all[0].IsCreate() && all[1].IsModify() && len(all) == 5, "past %v", all)
}

func watchCompacted(ctx context.Context, client *clientv3.Client) error {
	old, err := client.Put(ctx, "wc", "1")
	if err != nil {
		return err
	}
	last, err := client.Put(ctx, "wc", "2")
	if err != nil {
		return err
	}
	if _, err := client.Compact(ctx, last.Header.Revision); err != nil {
		return err
	}
	response := <-client.Watch(ctx, "wc", clientv3.WithRev(old.Header.Revision))
	if !errors.Is(response.Err(), rpctypes.ErrCompacted) {
		return fmt.Errorf("a compacted watch gives %v", response.Err())
	}
	events, err := collect(client.Watch(ctx, "wc", clientv3.WithRev(response.CompactRevision)), 1)
	if err != nil {
		return err
	}
	return expect(string(events[0].Kv.Value) == "2", "%v", events)
}

func manyWatches(ctx context.Context, client *clientv3.Client) error {
	const count = 200
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watches []clientv3.WatchChan
	for number := range count {
		watch := client.Watch(ctx, fmt.Sprintf("many/%d", number), clientv3.WithCreatedNotify())
		<-watch
		watches = append(watches, watch)
	}
	for number := range count {
		if _, err := client.Put(ctx, fmt.Sprintf("many/%d", number), fmt.Sprint(number)); err != nil {
			return err
		}
	}
	for number, watch := range watches {
		events, err := collect(watch, 1)
		if err != nil {
			return err
		}
		if string(events[0].Kv.Value) != fmt.Sprint(number) {
			return fmt.Errorf("watch %d got %v", number, events)
		}
	}
	return nil
}

func watchProgress(ctx context.Context, client *clientv3.Client) error {
	watch := client.Watch(ctx, "wp", clientv3.WithCreatedNotify())
	<-watch
	put, err := client.Put(ctx, "elsewhere", "1")
	if err != nil {
		return err
	}
	// An answer may still be of before the put was published; the next is not.
	for range 100 {
		if err := client.RequestProgress(ctx); err != nil {
			return err
		}
		response := <-watch
		if !response.IsProgressNotify() {
			return fmt.Errorf("not progress: %v", response)
		}
		if response.Header.Revision >= put.Header.Revision {
			return nil
		}
	}
	return errors.New("progress never reaches the put")
}
