//! Bytes from nowhere: whatever comes is read or refused, for every API and version, without a panic.
//!
//! The fuzz target `wire` does the same for longer. `WIRE_SEED=<seed> cargo test -p hanbeon-wire --test any_bytes` replays one seed.
#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

use bytes::{BufMut, Bytes, BytesMut};
use hanbeon_wire::{Advertised, Connection, Next, Request, Standing};

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// Mostly small numbers, which are plausible lengths, and some large ones.
    fn byte(&mut self) -> u8 {
        let byte = self.next().to_le_bytes();
        match byte[0] % 8 {
            0 => byte[1],
            1 => 0xff,
            2 | 3 => 0,
            _ => byte[1] % 5,
        }
    }
}

#[test]
fn whatever_comes_is_read_or_refused() {
    let one = std::env::var("WIRE_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let seeds = one.map_or(0..300, |seed| seed..seed + 1);
    let advertised = Advertised::everything_readable().with_unstable_versions();
    let mut taken = 0;
    for seed in seeds {
        let mut chance = Chance(seed);
        for &(api, versions) in advertised.ranges() {
            for version in versions.min..=versions.max {
                let mut frame = BytesMut::new();
                frame.put_i16(api.number());
                frame.put_i16(version);
                frame.put_i32(1);
                frame.put_slice(&[0xff, 0xff]);
                if api.is_flexible(version) {
                    frame.put_u8(0);
                }
                for _ in 0..chance.below(200) {
                    frame.put_u8(chance.byte());
                }
                let read = std::panic::catch_unwind(|| {
                    Request::read(frame.clone().freeze(), &advertised)
                        .and_then(|request| request.check())
                });
                let read = read.unwrap_or_else(|_| {
                    panic!("{api} {version} panics; replay with WIRE_SEED={seed}")
                });
                taken += usize::from(read.is_ok());
            }
        }
    }
    assert!(
        one.is_some() || taken > 1000,
        "only {taken} requests were readable: the test tests nothing"
    );
}

#[test]
fn a_stream_cut_anywhere_gives_the_same_requests() {
    let advertised = Advertised::everything_readable();
    let mut stream = Vec::new();
    for correlation in 0..20_u8 {
        let frame = [0, 3, 0, 1, 0, 0, 0, correlation, 0xff, 0xff, 0, 0, 0, 0];
        stream.extend_from_slice(&[0, 0, 0, 14]);
        stream.extend_from_slice(&frame);
    }
    for seed in 0..50 {
        let mut chance = Chance(seed);
        let mut connection = Connection::new(Standing::Trusted);
        let (mut rest, mut seen) = (Bytes::copy_from_slice(&stream), Vec::new());
        while !rest.is_empty() {
            let piece = rest.split_to((1 + chance.below(40)).min(rest.len()));
            connection.room().extend_from_slice(&piece);
            while let Next::Request(place, request) = connection.next_request(&advertised).unwrap()
            {
                seen.push(request.reply_to.correlation_id);
                connection.answer(place, hanbeon_wire::Answer::none());
                assert!(connection.next_answer().is_none());
            }
        }
        assert_eq!(seen, (0..20).collect::<Vec<_>>(), "seed {seed}");
    }
}
