import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The Java client; the verbs are explained in ../suite.py, ../transactions.py and ../groups.py. */
public final class Client {
    public static void main(String[] a) throws Exception {
        switch (a[0]) {
            case "produce" -> produce(a[1], a[2], a[3], Integer.parseInt(a[4]), a[5]);
            case "consume" -> consume(a[1], Arrays.asList(a).subList(2, a.length));
            case "seek" -> seek(a[1], new TopicPartition(a[2], Integer.parseInt(a[3])), Long.parseLong(a[4]));
            case "end" -> end(a[1], new TopicPartition(a[2], Integer.parseInt(a[3])));
            case "copy" -> new Copier(a).run();
            case "follow" -> Audit.follow(a[1], a[2], a[3]);
            case "audit" -> Audit.run(a[1], a[2], a[3], a[4]);
            case "member" -> Groups.run(a[1], a[2], a[3], a[4], a[5]);
            default -> throw new IllegalArgumentException(a[0]);
        }
    }

    static synchronized void say(Object... what) {
        var line = new StringBuilder().append(System.nanoTime());
        for (var word : what) line.append(' ').append(word);
        System.out.println(line);
        System.out.flush();
    }

    private static void produce(String bootstrap, String topic, String codec, int count, String prefix) throws Exception {
        var settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("compression.type", codec);
        settings.put("batch.size", 1024);
        settings.put("linger.ms", 1);
        settings.put("retry.backoff.ms", 20);
        settings.put("reconnect.backoff.ms", 20);
        settings.put("reconnect.backoff.max.ms", 100);
        var failed = new AtomicReference<Exception>();
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < count; i++) {
                int n = i;
                var header = new RecordHeader("n", Integer.toString(i).getBytes(StandardCharsets.UTF_8));
                producer.send(new ProducerRecord<>(topic, i % 2, "k" + i, prefix + "-" + i, List.of(header)), (where, why) -> {
                    if (why != null) failed.set(why);
                    else System.out.println("acked " + n + " " + where.partition() + " " + where.offset());
                });
            }
            producer.flush();
        }
        if (failed.get() != null) throw failed.get();
    }

    private static KafkaConsumer<String, String> reader(String bootstrap) {
        return new KafkaConsumer<>(Map.of("bootstrap.servers", bootstrap, "enable.auto.commit", false, "auto.offset.reset", "none"),
            new StringDeserializer(), new StringDeserializer());
    }

    private static void consume(String bootstrap, List<String> wanted) {
        var ends = new HashMap<TopicPartition, Long>();
        for (var where : wanted) {
            var parts = where.split(":");
            ends.put(new TopicPartition(parts[0], Integer.parseInt(parts[1])), Long.parseLong(parts[2]));
        }
        try (var consumer = reader(bootstrap)) {
            consumer.assign(ends.keySet());
            ends.keySet().forEach(where -> consumer.seek(where, 0));
            long deadline = System.nanoTime() + 60_000_000_000L;
            while (!ends.isEmpty()) {
                if (System.nanoTime() > deadline) throw new IllegalStateException("left: " + ends);
                for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofSeconds(1))) {
                    System.out.println("record " + r.topic() + " " + r.partition() + " " + r.offset() + " " + r.timestamp() + " " + r.key() + " " + r.value());
                    ends.remove(new TopicPartition(r.topic(), r.partition()), r.offset() + 1);
                }
            }
        }
    }

    private static void seek(String bootstrap, TopicPartition where, long timestamp) {
        try (var consumer = reader(bootstrap)) {
            System.out.println("offset " + consumer.offsetsForTimes(Map.of(where, timestamp)).get(where).offset());
        }
    }

    private static void end(String bootstrap, TopicPartition where) {
        try (var consumer = reader(bootstrap)) {
            System.out.println("end " + consumer.endOffsets(List.of(where)).get(where));
        }
    }
}
