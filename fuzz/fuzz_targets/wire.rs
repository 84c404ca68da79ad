//! Bytes to requests: a stream of frames, then the same bytes as the body of every API in every version. Nothing may panic; libFuzzer's
//! memory limit catches what allocates by a claim.
#![no_main]

use bytes::Bytes;
use hanbeon_fuzz::within_room;
use hanbeon_wire::{Advertised, Answer, Connection, Next, ReplyTo, Request, Standing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    within_room(|| {
        let advertised = Advertised::everything_readable();
        let mut connection = Connection::new(Standing::Trusted);
        connection.push(data);
        while let Ok(Next::Request(place, request)) = connection.next_request(&advertised) {
            // Refusing is fine.
            let _read = request.check();
            connection.answer(place, Answer::none());
            assert!(connection.next_answer().is_none());
        }
        let body = Bytes::copy_from_slice(data);
        for &(api, versions) in advertised.ranges() {
            for version in versions.min..=versions.max {
                if api.readable().is_some_and(|readable| readable.contains(version)) {
                    let reply_to = ReplyTo { api, version, correlation_id: 1 };
                    let _read = Request { reply_to, client_id: None, body: body.clone() }.check();
                }
            }
        }
    });
});
