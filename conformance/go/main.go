// Scenarios with the official Go client against one endpoint: what a program that
// uses etcd relies on. Prints one line for each and ends with 1 if any failed.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A scenario uses keys below its own name only.
type scenario struct {
	name string
	run  func(ctx context.Context, client *clientv3.Client) error
}

// Far longer than any of them takes on a busy machine.
const limit = 60 * time.Second

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: scenarios HOST:PORT")
		os.Exit(2)
	}
	failed := false
	for _, s := range scenarios() {
		if err := runOne(os.Args[1], s); err != nil {
			fmt.Printf("FAIL %s: %v\n", s.name, err)
			failed = true
		} else {
			fmt.Printf("ok %s\n", s.name)
		}
	}
	if failed {
		os.Exit(1)
	}
}

func scenarios() []scenario {
	return []scenario{
		{"put, get, delete", putGetDelete},
		{"get with every option", getOptions},
		{"compare and swap", compareAndSwap},
		{"errors are the client's own values", typedErrors},
		{"compaction", compaction},
		{"large answers", largeAnswers},
		{"watch from now and from the past", watchPastAndNow},
		{"watch survives a compaction error", watchCompacted},
		{"many watches on one stream", manyWatches},
		{"watch progress", watchProgress},
		{"lease keep alive and revoke", leaseKeepAlive},
		{"lease expiry", leaseExpiry},
		{"mutex", mutex},
		{"election", election},
		{"software transactional memory", stm},
		{"status, members, alarms", maintenance},
	}
}

func runOne(endpoint string, s scenario) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{endpoint},
		DialTimeout: 10 * time.Second,
		Context:     ctx,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	return s.run(ctx, client)
}

// expect makes an error of a false condition.
func expect(condition bool, format string, arguments ...any) error {
	if condition {
		return nil
	}
	return fmt.Errorf(format, arguments...)
}
