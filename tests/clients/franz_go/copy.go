package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// monotonic is CLOCK_MONOTONIC, which all clients of a run share.
func monotonic() int64 {
	var at syscall.Timespec
	if _, _, failed := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&at)), 0); failed != 0 {
		check(failed)
	}
	return at.Nano()
}

var saying sync.Mutex

func say(words ...any) {
	saying.Lock()
	defer saying.Unlock()
	fmt.Println(append([]any{monotonic()}, words...)...)
}

func quick(bootstrap string) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(bootstrap), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.RequestRetries(1000), kgo.MetadataMinAge(50 * time.Millisecond),
	}
}

func membership(bootstrap, group, topic, session string) []kgo.Opt {
	timeout := time.Duration(number(session)) * time.Millisecond
	return append(quick(bootstrap),
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.SessionTimeout(timeout), kgo.HeartbeatInterval(timeout/5), kgo.RebalanceTimeout(4*timeout), kgo.DisableAutoCommit(),
	)
}

// end stops as a crash would: nothing is closed in order.
func end(why error) {
	text := strings.ReplaceAll(why.Error(), " ", "_")
	if errors.Is(why, kerr.ProducerFenced) || errors.Is(why, kerr.InvalidProducerEpoch) {
		say("fenced", text)
		os.Exit(3)
	}
	say("broken", text)
	os.Exit(1)
}

// copier is the transactional copy loop; the verb `copy` is explained in ../transactions.py.
type copier struct {
	session          *kgo.GroupTransactSession
	output, instance string
	batch            int
	every, now       int64
	offsets          bool
}

func copyLoop(ctx context.Context, a []string) {
	opts := append(membership(a[1], a[2], a[4], a[10]),
		kgo.TransactionalID(a[3]), kgo.TransactionTimeout(time.Duration(number(a[9]))*time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(time.Millisecond),
	)
	session, err := kgo.NewGroupTransactSession(opts...)
	check(err)
	if _, _, err := session.Client().ProducerID(ctx); err != nil {
		end(err)
	}
	say("ready")
	c := copier{session, a[5], a[8], int(number(a[6])), number(a[7]), 0, a[11] == "with-offsets"}
	for {
		fetches := session.PollRecords(ctx, c.batch)
		for _, failed := range fetches.Errors() {
			fmt.Fprintln(os.Stderr, failed.Topic, failed.Partition, failed.Err)
		}
		if records := fetches.Records(); len(records) > 0 {
			c.transaction(ctx, records)
			c.now++
		}
	}
}

func (c *copier) transaction(ctx context.Context, records []*kgo.Record) {
	say("begin", c.now)
	if err := c.session.Begin(); err != nil {
		end(err)
	}
	failed := make(chan error, len(records))
	for _, r := range records {
		out := &kgo.Record{
			Topic: c.output, Partition: int32(r.Offset % 2), Key: []byte(fmt.Sprintf("%d:%d", r.Partition, r.Offset)),
			Value: []byte(fmt.Sprintf("%s@%s.%d", r.Value, c.instance, c.now)),
		}
		c.session.Produce(ctx, out, func(_ *kgo.Record, err error) {
			if err != nil {
				failed <- err
			}
		})
	}
	if err := c.session.Client().Flush(ctx); err != nil {
		end(err)
	}
	asked := kgo.TryCommit
	select {
	case err := <-failed:
		say("failed", c.now, strings.ReplaceAll(err.Error(), " ", "_"))
		asked = kgo.TryAbort
	default:
		say("sent", c.now, len(records))
		if c.every > 0 && c.now%c.every == c.every-1 {
			asked = kgo.TryAbort
		}
	}
	if asked == kgo.TryAbort {
		say("abort", c.now)
	} else {
		say("commit", c.now)
	}
	committed, err := c.finish(ctx, asked)
	switch {
	case err != nil:
		end(err)
	case committed:
		say("committed", c.now)
	case asked == kgo.TryCommit:
		say("failed", c.now, "rebalance")
		fallthrough
	default:
		say("aborted", c.now)
	}
}

// finish sends the offsets and ends the transaction, which is one call of the session; without offsets the producer ends alone.
func (c *copier) finish(ctx context.Context, asked kgo.TransactionEndTry) (bool, error) {
	if c.offsets {
		return c.session.End(ctx, asked)
	}
	err := c.session.Client().EndTransaction(ctx, asked)
	return err == nil && asked == kgo.TryCommit, err
}
