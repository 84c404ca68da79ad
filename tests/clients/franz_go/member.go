package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"
)

// member is a group member; the verb is explained in ../groups.py.
func member(a []string) {
	ctx, leave := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer leave()
	held := 0
	show := func(change int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, moved map[string][]int32) {
			held += change * len(moved[a[3]])
			fmt.Println("assigned", held)
		}
	}
	opts := append(membership(a[1], a[2], a[3], a[5]),
		kgo.BlockRebalanceOnPoll(), kgo.OnPartitionsAssigned(show(1)), kgo.OnPartitionsRevoked(show(-1)), kgo.OnPartitionsLost(show(-1)),
	)
	if a[4] == "consumer" {
		opts = append(opts, kgo.ServerSideBalancer())
	}
	c, err := kgo.NewClient(opts...)
	check(err)
	for ctx.Err() == nil {
		records := c.PollRecords(ctx, 20).Records()
		for _, r := range records {
			fmt.Printf("record %d %d %s\n", r.Partition, r.Offset, r.Value)
		}
		if len(records) > 0 {
			if err := c.CommitRecords(context.Background(), records...); err != nil {
				fmt.Fprintln(os.Stderr, err) // a rebalance came between: whoever holds the partition now reads it again
			}
		}
		c.AllowRebalance()
	}
	c.CloseAllowingRebalance()
}
