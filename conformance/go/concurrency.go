package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

const contenders = 5

// Each adds to a number that only the holder of the mutex may touch.
func mutex(ctx context.Context, client *clientv3.Client) error {
	total := 0
	err := together(func(int) error {
		session, err := concurrency.NewSession(client)
		if err != nil {
			return err
		}
		defer session.Close()
		lock := concurrency.NewMutex(session, "mutex/")
		for range 5 {
			if err := lock.Lock(ctx); err != nil {
				return err
			}
			total++
			if err := lock.Unlock(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := expect(total == 5*contenders, "counted %d", total); err != nil {
		return err
	}
	session, err := concurrency.NewSession(client)
	if err != nil {
		return err
	}
	defer session.Close()
	held := concurrency.NewMutex(session, "mutex/")
	if err := held.Lock(ctx); err != nil {
		return err
	}
	second, err := concurrency.NewSession(client)
	if err != nil {
		return err
	}
	defer second.Close()
	err = concurrency.NewMutex(second, "mutex/").TryLock(ctx)
	return expect(errors.Is(err, concurrency.ErrLocked), "a held mutex gives %v", err)
}

// Each is elected once; an observer sees every leader.
func election(ctx context.Context, client *clientv3.Client) error {
	seen := make(map[string]bool)
	observing, cancel := context.WithCancel(ctx)
	defer cancel()
	session, err := concurrency.NewSession(client)
	if err != nil {
		return err
	}
	defer session.Close()
	leaders := concurrency.NewElection(session, "election/").Observe(observing)
	done := make(chan error, 1)
	turn := make(chan struct{}, contenders)
	go func() {
		for response := range leaders {
			name := string(response.Kvs[0].Value)
			if !seen[name] {
				seen[name] = true
				turn <- struct{}{}
			}
			if len(seen) == contenders {
				break
			}
		}
		done <- nil
	}()
	err = together(func(number int) error {
		session, err := concurrency.NewSession(client)
		if err != nil {
			return err
		}
		defer session.Close()
		candidate := concurrency.NewElection(session, "election/")
		if err := candidate.Campaign(ctx, strconv.Itoa(number)); err != nil {
			return err
		}
		leader, err := candidate.Leader(ctx)
		if err != nil {
			return err
		}
		if string(leader.Kvs[0].Value) != strconv.Itoa(number) {
			return fmt.Errorf("%d is elected, %s leads", number, leader.Kvs[0].Value)
		}
		<-turn
		return candidate.Resign(ctx)
	})
	if err != nil {
		return err
	}
	return <-done
}

// Money moves between accounts and none is lost.
func stm(ctx context.Context, client *clientv3.Client) error {
	for account := range contenders {
		if _, err := client.Put(ctx, fmt.Sprintf("stm/%d", account), "100"); err != nil {
			return err
		}
	}
	err := together(func(number int) error {
		for step := range 10 {
			from := fmt.Sprintf("stm/%d", number)
			to := fmt.Sprintf("stm/%d", (number+step+1)%contenders)
			_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
				one, err := strconv.Atoi(stm.Get(from))
				if err != nil {
					return err
				}
				stm.Put(from, strconv.Itoa(one-1))
				other, err := strconv.Atoi(stm.Get(to))
				if err != nil {
					return err
				}
				stm.Put(to, strconv.Itoa(other+1))
				return nil
			}, concurrency.WithAbortContext(ctx))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	got, err := client.Get(ctx, "stm/", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	sum := 0
	for _, kv := range got.Kvs {
		amount, err := strconv.Atoi(string(kv.Value))
		if err != nil {
			return err
		}
		sum += amount
	}
	return expect(sum == 100*contenders, "%d left", sum)
}

// together runs contenders at once and returns what failed.
func together(run func(number int) error) error {
	var group sync.WaitGroup
	failures := make([]error, contenders)
	for number := range contenders {
		group.Go(func() { failures[number] = run(number) })
	}
	group.Wait()
	return errors.Join(failures...)
}
