import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Queue;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TimeoutException;

import org.apache.kafka.common.serialization.StringSerializer;

/** The transactional copy loop; the verb `copy` is explained in ../transactions.py. */
final class Copier {
    private final String output, instance;
    private final int batch, every;
    private final boolean offsets;
    private final KafkaProducer<String, String> producer;
    private final KafkaConsumer<String, String> consumer;
    private int number;

    Copier(String[] a) {
        output = a[5];
        batch = Integer.parseInt(a[6]);
        every = Integer.parseInt(a[7]);
        instance = a[8];
        offsets = a[11].equals("with-offsets");
        var sending = quick(a[1]);
        sending.put("transactional.id", a[3]);
        sending.put("transaction.timeout.ms", a[9]);
        sending.put("linger.ms", 1);
        producer = new KafkaProducer<>(sending, new StringSerializer(), new StringSerializer());
        try {
            producer.initTransactions();
        } catch (KafkaException why) {
            end(why);
        }
        Client.say("ready");
        consumer = Groups.member(a[1], a[2], "classic", a[10], Map.of("max.poll.records", batch));
        consumer.subscribe(List.of(a[4]));
    }

    static Properties quick(String bootstrap) {
        var settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("retry.backoff.ms", 20);
        settings.put("reconnect.backoff.ms", 20);
        settings.put("reconnect.backoff.max.ms", 100);
        return settings;
    }

    void run() {
        while (true) {
            var records = new ArrayList<ConsumerRecord<String, String>>();
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
            if (records.isEmpty()) continue;
            int now = number++;
            try {
                transaction(now, records);
            } catch (ProducerFencedException why) {
                end(why);
            } catch (KafkaException why) {
                abort(now, why);
            }
        }
    }

    private void transaction(int now, List<ConsumerRecord<String, String>> records) {
        Client.say("begin", now);
        producer.beginTransaction();
        var ends = new HashMap<TopicPartition, OffsetAndMetadata>();
        for (var r : records) {
            var value = r.value() + "@" + instance + "." + now;
            producer.send(new ProducerRecord<>(output, (int) (r.offset() % 2), r.partition() + ":" + r.offset(), value));
            ends.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
        }
        producer.flush();
        Client.say("sent", now, records.size());
        if (offsets) {
            producer.sendOffsetsToTransaction(ends, consumer.groupMetadata());
            Client.say("offsets", now);
        }
        if (every > 0 && now % every == every - 1) {
            Client.say("abort", now);
            producer.abortTransaction();
            Client.say("aborted", now);
            rewind();
        } else {
            Client.say("commit", now);
            asked(producer::commitTransaction);
            Client.say("committed", now);
        }
    }

    /** A commit that timed out is asked for again: its outcome is not known otherwise. */
    private static void asked(Runnable call) {
        while (true) {
            try {
                call.run();
                return;
            } catch (TimeoutException again) {
                // The suite has the deadline.
            }
        }
    }

    private void abort(int now, KafkaException why) {
        Client.say("failed", now, why.getClass().getSimpleName());
        try {
            asked(producer::abortTransaction);
            Client.say("aborted", now);
            rewind();
        } catch (KafkaException fatal) {
            end(fatal);
        }
    }

    /** Back to what the group has committed. */
    private void rewind() {
        var committed = consumer.committed(consumer.assignment());
        for (var where : consumer.assignment()) {
            var at = committed.get(where);
            consumer.seek(where, at == null ? 0 : at.offset());
        }
    }

    /** As a crash would: nothing is closed in order. */
    private static void end(KafkaException why) {
        boolean fenced = false;
        for (Throwable w = why; w != null; w = w.getCause()) fenced |= w instanceof ProducerFencedException || w instanceof InvalidProducerEpochException;
        Client.say(fenced ? "fenced" : "broken", why.getClass().getSimpleName(), String.valueOf(why.getMessage()).replace(' ', '_'));
        why.printStackTrace();
        Runtime.getRuntime().halt(fenced ? 3 : 1);
    }
}
