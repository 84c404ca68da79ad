import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Group members; the verb `member` is explained in ../groups.py. */
final class Groups {
    private Groups() {}

    static void run(String bootstrap, String group, String topic, String protocol, String session) {
        var me = Thread.currentThread();
        var left = new CountDownLatch(1);
        var consumer = member(bootstrap, group, protocol, session, Map.of("max.poll.records", 20));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try {
                left.await();
            } catch (InterruptedException gone) {
                me.interrupt();
            }
            Runtime.getRuntime().halt(0);
        }));
        var held = -1;
        try (consumer) {
            consumer.subscribe(List.of(topic));
            while (true) {
                var records = consumer.poll(Duration.ofMillis(200));
                if (held != (held = consumer.assignment().size())) System.out.println("assigned " + held);
                records.forEach(r -> System.out.println("record " + r.partition() + " " + r.offset() + " " + r.value()));
                System.out.flush();
                try {
                    if (!records.isEmpty()) consumer.commitSync();
                } catch (CommitFailedException | RebalanceInProgressException why) {
                    System.err.println(why); // a rebalance came between: whoever holds the partition now reads it again
                }
            }
        } catch (WakeupException leaving) {
            // Closing leaves the group.
        }
        left.countDown();
    }

    static KafkaConsumer<String, String> member(String bootstrap, String group, String protocol, String session, Map<String, Object> more) {
        var settings = Copier.quick(bootstrap);
        settings.put("group.id", group);
        settings.put("group.protocol", protocol);
        settings.put("enable.auto.commit", false);
        settings.put("auto.offset.reset", "earliest");
        settings.put("isolation.level", "read_committed");
        settings.put("fetch.max.wait.ms", 100);
        if (protocol.equals("classic")) {
            settings.put("session.timeout.ms", session);
            settings.put("heartbeat.interval.ms", Integer.parseInt(session) / 5);
        }
        settings.put("max.poll.interval.ms", 4 * Integer.parseInt(session)); // also how long a rebalance waits for a member
        settings.putAll(more);
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }
}
