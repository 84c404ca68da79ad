#!/usr/bin/env bash
# kcat (librdkafka of the distribution); the verbs are explained in ../suite.py and ../groups.py. It does not report offsets.
set -euo pipefail
verb=$1 bootstrap=$2 topic=${3:-}
quick=(-X reconnect.backoff.ms=20 -X reconnect.backoff.max.ms=100 -X retry.backoff.ms=20 -X message.timeout.ms=100000)
case $verb in
  produce)
    codec=$4 count=$5 prefix=$6
    for partition in 0 1; do
      for ((i = partition; i < count; i += 2)); do echo "k$i:$prefix-$i"; done |
        kcat -q -E -P -b "$bootstrap" -t "$topic" -p "$partition" -K : -z "$codec" -H "n=$partition" \
          -X enable.idempotence=true -X batch.num.messages=20 -X linger.ms=1 "${quick[@]}"
    done
    for ((i = 0; i < count; i++)); do echo "acked $i $((i % 2)) -1"; done ;;
  consume)
    for where in "${@:3}"; do
      IFS=: read -r topic partition end <<<"$where"
      kcat -q -C -b "$bootstrap" -t "$topic" -p "$partition" -o beginning -c "$end" -X check.crcs=true -f 'record %t %p %o %T %k %s\n'
    done ;;
  seek) kcat -q -Q -b "$bootstrap" -t "$topic:$4:$5" | sed -E 's/.*offset ([0-9]+).*/offset \1/' ;;
  end) kcat -q -Q -b "$bootstrap" -t "$topic:$4:-1" | sed -E 's/.*offset ([0-9]+).*/end \1/' ;;
  member)
    group=$3 topic=$4 session=$6
    # Its rebalances are told on standard error: `... assigned: topic [0], topic [2]`.
    exec kcat -u -b "$bootstrap" -G "$group" -X session.timeout.ms="$session" -X heartbeat.interval.ms=$((session / 5)) -X auto.commit.interval.ms=100 -X max.poll.interval.ms=$((session * 4)) \
      -X auto.offset.reset=earliest -X fetch.wait.max.ms=100 "${quick[@]}" -f 'record %p %o %s\n' "$topic" \
      2> >(while IFS= read -r line; do
        echo "$line" >&2
        marks=${line//[^[]/}
        case $line in *' assigned: '*) echo "assigned ${#marks}" ;; esac
      done) ;;
  *) echo "unknown verb $verb" >&2; exit 2 ;;
esac
