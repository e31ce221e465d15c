package main

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func leaseKeepAlive(ctx context.Context, client *clientv3.Client) error {
	lease, err := client.Grant(ctx, 6)
	if err != nil {
		return err
	}
	if _, err := client.Put(ctx, "lease/a", "1", clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	alive, err := client.KeepAlive(ctx, lease.ID)
	if err != nil {
		return err
	}
	if renewed := <-alive; renewed.TTL != 6 {
		return fmt.Errorf("renewed to %d", renewed.TTL)
	}
	once, err := client.KeepAliveOnce(ctx, lease.ID)
	if err != nil {
		return err
	}
	left, err := client.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	if err != nil {
		return err
	}
	if err := expect(once.TTL == 6 && left.GrantedTTL == 6 && left.TTL > 0 && len(left.Keys) == 1, "%v %v", once, left); err != nil {
		return err
	}
	if _, err := client.Revoke(ctx, lease.ID); err != nil {
		return err
	}
	for range alive {
		// Ends when the client learns that the lease is gone.
	}
	got, err := client.Get(ctx, "lease/", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	return expect(got.Count == 0, "keys outlive the lease: %v", got.Kvs)
}

// The deletion is seen by a watch, so nothing here waits by a clock.
func leaseExpiry(ctx context.Context, client *clientv3.Client) error {
	lease, err := client.Grant(ctx, 1)
	if err != nil {
		return err
	}
	put, err := client.Put(ctx, "expiry", "1", clientv3.WithLease(lease.ID))
	if err != nil {
		return err
	}
	events, err := collect(client.Watch(ctx, "expiry", clientv3.WithRev(put.Header.Revision)), 2)
	if err != nil {
		return err
	}
	if err := expect(events[1].Type == clientv3.EventTypeDelete, "%v", events); err != nil {
		return err
	}
	left, err := client.TimeToLive(ctx, lease.ID)
	if err != nil {
		return err
	}
	return expect(left.TTL == -1, "an expired lease has %d left", left.TTL)
}
