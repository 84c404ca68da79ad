// franz-go; the verbs are explained in ../suite.py, ../transactions.py and ../groups.py.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	check(err)
	return n
}

func client(bootstrap string, opts ...kgo.Opt) *kgo.Client {
	all := append([]kgo.Opt{kgo.SeedBrokers(bootstrap)}, opts...)
	c, err := kgo.NewClient(all...)
	check(err)
	return c
}

func produce(ctx context.Context, bootstrap, topic, codec string, count int64, prefix string) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	c := client(bootstrap,
		kgo.ProducerBatchCompression(codecs[codec]), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.AllowAutoTopicCreation(), kgo.ProducerBatchMaxBytes(1024), kgo.MaxBufferedRecords(int(count)+1),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.ProducerLinger(time.Millisecond), kgo.UnknownTopicRetries(100),
	)
	defer c.Close()
	failed := make(chan error, count)
	for i := int64(0); i < count; i++ {
		record := &kgo.Record{
			Topic: topic, Partition: int32(i % 2), Key: []byte(fmt.Sprintf("k%d", i)), Value: []byte(fmt.Sprintf("%s-%d", prefix, i)),
			Headers: []kgo.RecordHeader{{Key: "n", Value: []byte(strconv.FormatInt(i, 10))}},
		}
		c.Produce(ctx, record, func(r *kgo.Record, err error) {
			if err != nil {
				failed <- err
				return
			}
			fmt.Printf("acked %d %d %d\n", i, r.Partition, r.Offset)
		})
	}
	check(c.Flush(ctx))
	select {
	case err := <-failed:
		check(err)
	default:
	}
}

type where struct {
	topic     string
	partition int32
}

func consume(ctx context.Context, bootstrap string, wanted []string) {
	ends := map[where]int64{}
	from := map[string]map[int32]kgo.Offset{}
	for _, text := range wanted {
		parts := strings.Split(text, ":")
		at := where{parts[0], int32(number(parts[1]))}
		ends[at] = number(parts[2])
		if from[at.topic] == nil {
			from[at.topic] = map[int32]kgo.Offset{}
		}
		from[at.topic][at.partition] = kgo.NewOffset().At(0)
	}
	c := client(bootstrap, kgo.ConsumePartitions(from))
	defer c.Close()
	for len(ends) > 0 {
		fetches := c.PollFetches(ctx)
		check(fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			fmt.Printf("record %s %d %d %d %s %s\n", r.Topic, r.Partition, r.Offset, r.Timestamp.UnixMilli(), r.Key, r.Value)
			if at := (where{r.Topic, r.Partition}); r.Offset+1 == ends[at] {
				delete(ends, at)
			}
		})
	}
}

func offset(found kadm.ListedOffsets, err error, topic string, partition int32) int64 {
	check(err)
	one, ok := found.Lookup(topic, partition)
	if !ok {
		check(fmt.Errorf("no answer for %s-%d", topic, partition))
	}
	check(one.Err)
	return one.Offset
}

func main() {
	a := os.Args[1:]
	switch a[0] {
	case "copy":
		copyLoop(context.Background(), a)
	case "member":
		member(a)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 110*time.Second)
	defer cancel()
	switch a[0] {
	case "produce":
		produce(ctx, a[1], a[2], a[3], number(a[4]), a[5])
	case "consume":
		consume(ctx, a[1], a[2:])
	case "seek":
		found, err := kadm.NewClient(client(a[1])).ListOffsetsAfterMilli(ctx, number(a[4]), a[2])
		fmt.Println("offset", offset(found, err, a[2], int32(number(a[3]))))
	case "end":
		found, err := kadm.NewClient(client(a[1])).ListEndOffsets(ctx, a[2])
		fmt.Println("end", offset(found, err, a[2], int32(number(a[3]))))
	default:
		check(fmt.Errorf("unknown verb %s", a[0]))
	}
}
