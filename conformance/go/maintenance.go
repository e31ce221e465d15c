package main

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func maintenance(ctx context.Context, client *clientv3.Client) error {
	endpoint := client.Endpoints()[0]
	status, err := client.Status(ctx, endpoint)
	if err != nil {
		return err
	}
	if err := expect(status.Version == "3.7.1" && status.Leader == status.Header.MemberId && status.DbSize > 0 && len(status.Errors) == 0, "%v", status); err != nil {
		return err
	}
	members, err := client.MemberList(ctx)
	if err != nil {
		return err
	}
	if err := expect(len(members.Members) == 1 && members.Members[0].ID == status.Leader, "%v", members); err != nil {
		return err
	}
	alarms, err := client.AlarmList(ctx)
	if err != nil {
		return err
	}
	if err := expect(len(alarms.Alarms) == 0, "%v", alarms); err != nil {
		return err
	}
	if _, err := client.Defragment(ctx, endpoint); err != nil {
		return err
	}
	hash, err := client.HashKV(ctx, endpoint, 0)
	if err != nil {
		return err
	}
	return expect(hash.Hash != 0 && hash.HashRevision == hash.Header.Revision, "%v", hash)
}
