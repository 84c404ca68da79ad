//! `hanbeon serve` tells clients an address that they can connect to, or does not start.
#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

mod served;

use std::{net::TcpListener, process::Command};

use served::Served;

const ELSEWHERE: &str = "advertised.listeners=PLAINTEXT://127.0.0.1:9";

#[test]
fn a_broker_on_every_address_asks_what_clients_are_told() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    // Taken, so that one that was let in would not serve for ever.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("hanbeon.metrics.listener={}", listener.local_addr().unwrap());
    for arguments in [
        &["--listen", "0.0.0.0:0"][..],
        &["--listen", "[::]:0"],
        &["--set", "listeners=PLAINTEXT://:0"],
        &["--listen", "127.0.0.1:0", "--set", "advertised.listeners=PLAINTEXT://0.0.0.0:9092"],
        &["--listen", "127.0.0.1:0", "--set", "advertised.listeners=PLAINTEXT://[::]:9092"],
    ] {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_hanbeon"));
        serve.arg("serve").arg("--data-dir").arg(&dir).args(arguments).args(["--set", &taken]);
        let ended = serve.output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains("give advertised.listeners=PLAINTEXT://HOST:PORT"), "{said}");
        assert!(!dir.exists(), "{arguments:?}");
    }
    let served = Served::start(&dir, "0.0.0.0:0", &[ELSEWHERE]);
    assert!(served.address.ip().is_unspecified());
    assert_eq!(served.terminate().code(), Some(0));
}
