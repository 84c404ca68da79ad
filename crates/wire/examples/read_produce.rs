//! Reads one Produce request from bytes as they come from a socket, and answers it.

use bytes::BytesMut;
use hanbeon_records::Offset;
use hanbeon_wire::{
    Advertised, Connection, Next, ProduceRequest, ProduceResult, ProduceWriter, Standing, WireError,
};

/// Length, header (Produce 9, correlation id 7, client "me", no tags), then one topic with one partition.
const BYTES: &[u8] = &[
    0, 0, 0, 40, 0, 0, 0, 9, 0, 0, 0, 7, 0, 2, b'm', b'e', 0, // header
    0, 0xff, 0xff, 0, 0, 0x75, 0x30, // no transactional id, acks=all, 30 s
    2, 7, b'o', b'r', b'd', b'e', b'r', b's', 2, // one topic, one partition
    0, 0, 0, 3, 4, b'a', b'b', b'c', 0, 0,
    0, // partition 3, three bytes that stand for a record batch
];

fn main() -> Result<(), WireError> {
    let advertised = Advertised::everything_readable();
    let mut connection = Connection::new(Standing::Trusted);
    let mut scratch = BytesMut::new();
    for piece in BYTES.chunks(16) {
        connection.push(piece);
        let Next::Request(place, request) = connection.next_request(&advertised)? else { continue };
        let produce = ProduceRequest::read(&request)?;
        let mut writer =
            ProduceWriter::begin(&mut scratch, request.reply_to, produce.topic_count())?;
        for topic in produce.topics() {
            writer.topic(topic.topic, topic.partition_count())?;
            for partition in topic.partitions() {
                assert_eq!(partition.records.as_deref(), Some(&b"abc"[..]));
                let placed = ProduceResult::written(partition.index, Offset::new(42), Offset::ZERO);
                writer.partition(&placed)?;
            }
        }
        connection.answer(place, writer.finish(0, &[])?);
    }
    let answer = connection.next_answer().map(|answer| answer.len());
    assert_eq!(answer, Some(57));
    Ok(())
}
