import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Counts records per key with exactly_once_v2 in a RocksDB store with its changelog; every count goes to the output.
 *
 * <p>BOOTSTRAP APPLICATION INPUT OUTPUT STATE_DIRECTORY SESSION_TIMEOUT_MS TXN_TIMEOUT_MS; prints `tasks N` when it holds another number of them.
 */
public final class Counts {
    public static void main(String[] a) throws Exception {
        var builder = new StreamsBuilder();
        builder.stream(a[2], Consumed.with(Serdes.String(), Serdes.String()))
            .groupByKey()
            .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts").withCachingDisabled())
            .toStream()
            .mapValues(count -> Long.toString(count))
            .to(a[3], Produced.with(Serdes.String(), Serdes.String()));
        var settings = new Properties();
        settings.put("bootstrap.servers", a[0]);
        settings.put("application.id", a[1]);
        settings.put("state.dir", Path.of(a[4]).toString());
        settings.put("processing.guarantee", "exactly_once_v2");
        settings.put("replication.factor", 1);
        settings.put("commit.interval.ms", 400);
        settings.put("probing.rebalance.interval.ms", 60000);
        settings.put("retry.backoff.ms", 20);
        settings.put("reconnect.backoff.max.ms", 100);
        settings.put("main.consumer.session.timeout.ms", a[5]);
        settings.put("main.consumer.heartbeat.interval.ms", Integer.parseInt(a[5]) / 5);
        settings.put("main.consumer.max.poll.interval.ms", 4 * Integer.parseInt(a[5]));
        settings.put("consumer.auto.offset.reset", "earliest");
        settings.put("producer.transaction.timeout.ms", a[6]);
        settings.put("producer.linger.ms", 5);
        var streams = new KafkaStreams(builder.build(), settings);
        streams.setUncaughtExceptionHandler(why -> {
            why.printStackTrace();
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(30))));
        streams.start();
        for (int held = 0; ; Thread.sleep(50)) {
            int tasks = streams.metadataForLocalThreads().stream().mapToInt(thread -> thread.activeTasks().size()).sum();
            if (held == (held = tasks)) continue;
            System.out.println("tasks " + tasks);
            System.out.flush();
        }
    }
}
