//! Requests of the APIs that have no walk of their own, written and read by `hanbeon_wire`.

use bytes::{Buf, Bytes, BytesMut};
use hanbeon_wire::messages::{
    RequestMessage, add_offsets_to_txn, add_partitions_to_txn, consumer_group_describe,
    consumer_group_heartbeat, delete_groups, describe_groups, end_txn, heartbeat, init_producer_id,
    join_group, leave_group, list_groups, offset_commit, offset_delete, offset_fetch, sync_group,
    txn_offset_commit, write_txn_markers,
};

use super::Client;

/// A request with its bytes and those of its answer.
pub(crate) trait Call: RequestMessage {
    fn bytes(&self, version: i16) -> BytesMut;
    fn answer(bytes: &mut Bytes, version: i16) -> Self::Response;
}

macro_rules! calls {
    ($($module:ident)*) => {
        $(impl Call for $module::Request {
            fn bytes(&self, version: i16) -> BytesMut {
                let mut out = BytesMut::new();
                self.write(&mut out, version).unwrap();
                out
            }

            fn answer(bytes: &mut Bytes, version: i16) -> $module::Response {
                $module::Response::read(bytes, version).unwrap()
            }
        })*
    };
}

calls!(
    add_offsets_to_txn add_partitions_to_txn consumer_group_describe consumer_group_heartbeat delete_groups describe_groups end_txn heartbeat
    init_producer_id join_group leave_group list_groups offset_commit offset_delete offset_fetch sync_group txn_offset_commit write_txn_markers
);

/// What stands behind the client's name.
pub(crate) fn body<R: Call>(version: i16, request: &R) -> Vec<u8> {
    // No tags in the header.
    let header: &[u8] = if R::API.is_flexible(version) { &[0] } else { &[] };
    [header, &request.bytes(version)].concat()
}

pub(crate) async fn send<R: Call>(client: &mut Client, version: i16, request: &R) {
    client.send(R::API.number(), version, 1, &body(version, request)).await;
}

pub(crate) async fn heard<R: Call>(client: &mut Client, version: i16) -> R::Response {
    let mut answer = client.answer(1).await;
    if R::API.is_flexible(version) {
        assert_eq!(answer.get_u8(), 0, "tags of the header");
    }
    let response = R::answer(&mut answer, version);
    assert_eq!(answer.remaining(), 0, "{:?} {version}", R::API);
    response
}

pub(crate) async fn ask<R: Call>(client: &mut Client, version: i16, request: R) -> R::Response {
    send(client, version, &request).await;
    heard::<R>(client, version).await
}
