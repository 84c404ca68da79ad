import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Reads what copiers did; the verbs `follow` and `audit` are explained in ../transactions.py. */
final class Audit {
    private Audit() {}

    private static KafkaConsumer<String, String> isolated(String bootstrap, String level) {
        var settings = Copier.quick(bootstrap);
        settings.put("client.id", "reader"); // known to ../proxy.py
        settings.put("enable.auto.commit", false);
        settings.put("auto.offset.reset", "none");
        settings.put("isolation.level", level);
        settings.put("fetch.max.wait.ms", 100);
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    private static List<TopicPartition> assign(KafkaConsumer<String, String> consumer, String topic) {
        while (true) {
            try {
                var all = consumer.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
                consumer.assign(all);
                all.forEach(where -> consumer.seek(where, 0));
                return all;
            } catch (TimeoutException again) {
                // The server is away; the suite has the deadline.
            }
        }
    }

    /** Reads until every partition's position is at its end: the last stable offset or the high watermark. */
    private static void toTheEnd(KafkaConsumer<String, String> consumer, List<TopicPartition> all, Consumer<ConsumerRecord<String, String>> each) {
        var left = new HashSet<>(all);
        var ends = consumer.endOffsets(all);
        long deadline = System.nanoTime() + 60_000_000_000L;
        while (true) {
            left.removeIf(where -> consumer.position(where) >= ends.get(where));
            if (left.isEmpty()) return;
            if (System.nanoTime() > deadline) throw new IllegalStateException(left + " have no end");
            consumer.poll(Duration.ofMillis(100)).forEach(each);
        }
    }

    static void follow(String bootstrap, String topic, String level) throws IOException {
        try (var consumer = isolated(bootstrap, level)) {
            var all = assign(consumer, topic);
            Consumer<ConsumerRecord<String, String>> show = r -> Client.say("record", r.partition(), r.offset(), r.key(), r.value());
            var ended = new Thread(() -> {
                try {
                    while (System.in.read() >= 0) {}
                } catch (IOException gone) {
                    // An end all the same.
                }
            });
            ended.setDaemon(true);
            ended.start();
            while (ended.isAlive()) consumer.poll(Duration.ofMillis(100)).forEach(show);
            toTheEnd(consumer, all, show);
        }
    }

    static void run(String bootstrap, String group, String input, String output) throws Exception {
        var out = new StringBuilder();
        try (var consumer = isolated(bootstrap, "read_committed")) {
            toTheEnd(consumer, assign(consumer, input), r -> out.append("input %d %d %s\n".formatted(r.partition(), r.offset(), r.value())));
        }
        for (var level : List.of("committed", "uncommitted")) {
            try (var consumer = isolated(bootstrap, "read_" + level)) {
                toTheEnd(consumer, assign(consumer, output), r -> out.append("%s %d %d %s %s\n".formatted(level, r.partition(), r.offset(), r.key(), r.value())));
            }
        }
        try (var admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            var offsets = new HashMap<>(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get());
            offsets.forEach((where, at) -> out.append("offset %d %d\n".formatted(where.partition(), at == null ? -1 : at.offset())));
            for (var topic : List.of(input, output)) {
                for (var info : admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions()) {
                    var where = new TopicPartition(topic, info.partition());
                    out.append("ends %s %d".formatted(topic, info.partition()));
                    for (var level : List.of(IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)) {
                        var found = admin.listOffsets(Map.of(where, OffsetSpec.latest()), new ListOffsetsOptions(level)).partitionResult(where).get();
                        out.append(" ").append(found.offset());
                    }
                    out.append("\n");
                }
            }
        }
        System.out.print(out);
        System.out.flush();
    }
}
