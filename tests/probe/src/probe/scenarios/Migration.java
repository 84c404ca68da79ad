package probe.scenarios;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Assignment;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.clients.consumer.internals.ConsumerProtocol;
import org.apache.kafka.common.TopicPartition;
import probe.Answer;
import probe.Group;
import probe.Lab;

/** Groups with members between the classic protocol and KIP-848. */
public final class Migration {
  private Migration() {}

  private static String join(String group, String member, String topic) {
    return "ConsumerGroupHeartbeat/1 groupId: " + group + ", memberId: " + member + ", memberEpoch: 0, rebalanceTimeoutMs: 5000, "
        + "subscribedTopicNames: [" + topic + "], topicPartitions: []";
  }

  private static String beat(String group, String member, long epoch) {
    return "ConsumerGroupHeartbeat/1 groupId: " + group + ", memberId: " + member + ", memberEpoch: " + epoch
        + ", subscribedTopicNames: null, topicPartitions: null";
  }

  private static String beat(Group group) {
    return "Heartbeat/3 " + group.key();
  }

  private static List<TopicPartition> of(String topic, int... partitions) {
    return IntStream.of(partitions).mapToObj(number -> new TopicPartition(topic, number)).collect(Collectors.toList());
  }

  /** A YAML scalar of these bytes. */
  private static String scalar(ByteBuffer bytes) {
    StringBuilder text = new StringBuilder("\"");
    while (bytes.hasRemaining()) text.append("\\x%02x".formatted(bytes.get()));
    return text.append('"').toString();
  }

  private static String subscription(String topic, int... owned) {
    return scalar(ConsumerProtocol.serializeSubscription(new Subscription(List.of(topic), null, of(topic, owned))));
  }

  /** A stable group of one classic member; "instance" is a YAML scalar. */
  private static Group stable(Lab lab, String id, String instance, String topic, ByteBuffer given) {
    String own = subscription(topic);
    Answer first = lab.quietlyUntil(Group.join(5, id, "''", instance, own), a -> !a.text("memberId").isEmpty());
    String member = first.text("memberId");
    Answer joined = first.succeeded() ? first : lab.quietly(Group.join(5, id, member, instance, own));
    Group group = new Group(id, member, (int) joined.number("generationId"));
    Answer synced = lab.quietly("SyncGroup/3 " + group.key() + ", groupInstanceId: " + instance
        + ", assignments: [{memberId: '" + member + "', assignment: " + scalar(given) + "}]");
    if (!synced.succeeded()) throw new IllegalStateException(synced.tree().toString());
    return group;
  }

  private static ByteBuffer all(String topic) {
    return ConsumerProtocol.serializeAssignment(new Assignment(of(topic, 0, 1)));
  }

  /** Joins again and notes it; what it owns is part of its subscription, which has no place in a transcript. */
  private static Group rejoin(Lab lab, String step, Group group, String topic, int... owned) {
    Answer joined = lab.quietly(Group.join(5, group.id(), group.memberId(), "null", subscription(topic, owned)));
    Group now = group.generation((int) joined.number("generationId"));
    String protocol = joined.text("protocolName") + ", leader '" + joined.text("leader") + "'";
    lab.note(step, "JoinGroup v5", joined.errors() + ", " + (now.generation() - group.generation()) + " generations on, " + protocol);
    return now;
  }

  private static List<Integer> sync(Lab lab, String step, Group group) {
    Answer synced = lab.quietly("SyncGroup/3 " + group.key() + ", assignments: []");
    List<Integer> partitions = List.of();
    try {
      byte[] bytes = synced.tree().findValue("assignment").binaryValue();
      if (bytes.length > 0) {
        partitions = ConsumerProtocol.deserializeAssignment(ByteBuffer.wrap(bytes)).partitions().stream().map(TopicPartition::partition).sorted().toList();
      }
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
    lab.note(step, "SyncGroup v3", synced.errors() + ", " + partitions.size() + " partitions");
    return partitions;
  }

  private static void commit(Lab lab, String step, int version, Group group, String topic) {
    lab.ask(step, "OffsetCommit/" + version + " groupId: " + group.id() + ", generationIdOrMemberEpoch: " + group.generation()
        + ", memberId: '" + group.memberId() + "', topics: [{name: " + topic + ", partitions: [{partitionIndex: 0, committedOffset: 1}]}]");
  }

  private static void state(Lab lab, String step, String group) {
    lab.note(step, "DescribeGroups v5", lab.quietly("DescribeGroups/5 groups: [" + group + "]").text("groupState"));
  }

  public static void aClassicGroupGoesOver(Lab lab) {
    String topic = lab.topic("t", 2);
    Group old = stable(lab, lab.name("g"), "null", topic, all(topic));
    lab.ask("a newer member joins", join(old.id(), "n-1", topic));
    lab.ask("both are there", "ConsumerGroupDescribe/1 groupIds: [" + old.id() + "]");
    state(lab, "the classic group is gone", old.id());
    commit(lab, "the classic member commits in its generation", 8, old, topic);
    commit(lab, "in another", 8, old.generation(old.generation() + 7), topic);
    commit(lab, "in another, in a version with epochs", 9, old.generation(old.generation() + 7), topic);
    lab.ask("it is called back", beat(old));
    lab.ask("in another generation", beat(old.generation(old.generation() + 7)));
    lab.ask("a stranger", beat(old.member("m-9")));
    lab.ask("the newer member", beat(old.member("n-1")));
    Group now = rejoin(lab, "it joins owning both", old, topic, 0, 1);
    List<Integer> kept = sync(lab, "it is to give up one", now);
    lab.ask("which it has not yet", beat(now));
    now = rejoin(lab, "it joins owning one", now, topic, kept.get(0));
    sync(lab, "it keeps one", now);
    lab.ask("it is left alone", beat(now));
    lab.quietlyUntil(beat(old.id(), "n-1", now.generation()), a -> a.tree().findValues("partitions").toString().contains("["));
    lab.ask("each has one", "ConsumerGroupDescribe/1 groupIds: [" + old.id() + "]");
  }

  public static void theLastNewerMemberLeaves(Lab lab) {
    String topic = lab.topic("t", 2);
    Group old = stable(lab, lab.name("g"), "null", topic, all(topic));
    long epoch = lab.quietly(join(old.id(), "n-1", topic)).number("memberEpoch");
    Group now = rejoin(lab, "the classic member follows", old, topic);
    sync(lab, "and syncs", now);
    lab.ask("the newer member leaves", beat(old.id(), "n-1", -1));
    lab.note("the epoch is the generation", "", String.valueOf(now.generation() == epoch));
    lab.ask("no newer group is left", "ConsumerGroupDescribe/1 groupIds: [" + old.id() + "]");
    state(lab, "a classic one rebalances", old.id());
    lab.ask("its member is called back", beat(now));
    Answer joined = lab.quietly(Group.join(5, old.id(), now.memberId(), "null", subscription(topic)));
    lab.note("which leads", "JoinGroup v5", joined.errors() + ", " + (joined.number("generationId") - now.generation()) + " generation on, "
        + joined.text("leader").equals(now.memberId()));
    commit(lab, "an old generation", 8, now, topic);
  }

  public static void aClassicMemberLeaves(Lab lab) {
    String topic = lab.topic("t", 2);
    Group old = stable(lab, lab.name("g"), "null", topic, all(topic));
    lab.quietly(join(old.id(), "n-1", topic));
    String leave = "LeaveGroup/4 groupId: " + old.id() + ", members: [{memberId: ";
    lab.ask("a stranger cannot", leave + "m-9}]");
    lab.ask("an instance that is none", leave + "'', groupInstanceId: i-9}]");
    lab.ask("the classic member can", leave + "'" + old.memberId() + "'}]");
    lab.ask("once", leave + "'" + old.memberId() + "'}]");
    lab.ask("it is unknown", beat(old));
    lab.ask("a newer member can as well", leave + "n-1}]");
    lab.ask("the group is empty", "ConsumerGroupDescribe/1 groupIds: [" + old.id() + "]");
  }

  public static void aStaticMemberChangesItsProtocol(Lab lab) {
    String topic = lab.topic("t", 2);
    Group old = stable(lab, lab.name("g"), "i-1", topic, all(topic));
    Group other = stable(lab, lab.name("h"), "null", topic, all(topic));
    lab.ask("a newer member joins", join(old.id(), "n-1", topic));
    String newer = join(old.id(), "n-2", topic).replace("memberEpoch", "instanceId: i-1, memberEpoch");
    lab.ask("the static member comes as a newer one", newer);
    lab.ask("the classic one is fenced", beat(old) + ", groupInstanceId: i-1");
    lab.ask("without its instance", beat(old));
    lab.quietly(join(other.id(), "n-1", topic).replace("memberEpoch", "instanceId: i-1, memberEpoch"));
    Group now = rejoin(lab, "in another group the classic member follows", other, topic);
    sync(lab, "and syncs", now);
    Answer back = lab.quietly(Group.join(5, other.id(), "''", "i-1", subscription(topic)));
    lab.note("the newer one comes as a classic one", "JoinGroup v5", back.errors() + ", " + (back.number("generationId") - now.generation()) + " generations on");
    lab.ask("the newer group is gone", "ConsumerGroupDescribe/1 groupIds: [" + other.id() + "]");
    state(lab, "a classic one is there", other.id());
    Group returned = new Group(other.id(), back.text("memberId"), (int) back.number("generationId"));
    lab.ask("in peace", beat(returned) + ", groupInstanceId: i-1");
  }

  public static void whatDoesNotGoOver(Lab lab) {
    String topic = lab.topic("t", 2);
    ByteBuffer worded = ConsumerProtocol.serializeAssignment(new Assignment(of(topic, 0, 1), ByteBuffer.wrap(new byte[] {7})));
    Group group = stable(lab, lab.name("g"), "null", topic, worded);
    lab.ask("an assignor's own word would be lost", join(group.id(), "n-1", topic));
    lab.ask("the classic group goes on", beat(group));
    Group junk = stable(lab, lab.name("h"), "null", topic, ByteBuffer.wrap(new byte[] {1}));
    lab.ask("an assignment that is none", join(junk.id(), "n-1", topic));
    Group fine = stable(lab, lab.name("i"), "null", topic, all(topic));
    lab.ask("who does not join", beat(fine.id(), "n-1", 1));
    lab.quietly(join(fine.id(), "n-1", topic));
    String connect = Group.join(5, fine.id(), "''", "null", subscription(topic)).replace("protocolType: consumer", "protocolType: connect");
    Answer other = lab.quietly(connect);
    lab.note("another protocol type", "JoinGroup v5", other.errors().toString());
    other = lab.quietly(Group.join(5, fine.id(), "''", "null", subscription(topic)).replace("name: range", "name: other"));
    lab.note("a protocol that is not the classic member's", "JoinGroup v5", other.errors().toString());
    other = lab.quietly(Group.join(5, fine.id(), "m-9", "i-9", subscription(topic)));
    lab.note("an instance that is none", "JoinGroup v5", other.errors().toString());
  }

  public static void anUnreadableSubscription(Lab lab) {
    String topic = lab.topic("t", 1);
    lab.assigned(join(lab.name("g"), "n-1", topic));
    lab.ask("a classic member joins", Group.join(3, lab.name("g"), "''", "null", "'sub'"));
  }
}
