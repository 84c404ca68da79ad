//! A configuration of Kafka's starts a broker, which tells what of it is not used; but not where ignoring it would change something.
#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

/// `hanbeon serve` with a file of settings, on a free port and a directory of its own.
fn serve(home: &Path, config: &Path, settings: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hanbeon"));
    command.arg("serve").arg("--config").arg(config).arg("--data-dir").arg(home.join("data"));
    command.args(["--listen", "127.0.0.1:0"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.env("RUST_LOG", "warn").env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it says before it listens.
fn warnings(home: &Path, config: &Path, settings: &[&str]) -> String {
    let mut child = serve(home, config, settings);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    assert!(line.starts_with("hanbeon listening on "), "{said}");
    said
}

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

#[test]
fn kafkas_own_file_starts_a_broker_and_what_is_not_used_is_named() {
    let home = tempfile::tempdir().unwrap();
    let said = warnings(home.path(), &file("kafkas_server.properties"), &[]);
    for key in [
        "share.coordinator.state.topic.replication.factor",
        "share.coordinator.state.topic.min.isr",
    ] {
        let named = said
            .lines()
            .any(|line| line.contains("known to Kafka and not used here") && line.contains(key));
        assert!(named, "{key} is not in:\n{said}");
    }
    assert!(!said.contains("num.partitions"), "{said}");
}

#[test]
fn every_key_of_a_broker_of_kafka_may_stand_in_the_file() {
    let home = tempfile::tempdir().unwrap();
    let all = std::fs::read_to_string(file("kafkas_defaults.properties")).unwrap();
    let config = home.path().join("server.properties");
    // An empty value is Java's way to say none only for texts; numbers without one are left out there, too.
    let given: Vec<&str> = all
        .lines()
        .filter(|line| {
            !line.ends_with('=')
                || hanbeon::registry::unused_key(line.trim_end_matches('=')).is_some()
        })
        .collect();
    assert!(given.len() > 300);
    std::fs::write(&config, given.join("\n")).unwrap();
    let said = warnings(home.path(), &config, &["listeners=PLAINTEXT://127.0.0.1:0"]);
    let named = said.lines().filter(|line| line.contains("not used here")).count();
    assert_eq!(named, hanbeon::registry::unused_keys().len(), "{said}");
}

#[test]
fn what_cannot_be_ignored_stops_the_start() {
    let home = tempfile::tempdir().unwrap();
    // Taken, so that one that was let in would not serve for ever.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("hanbeon.metrics.listener={}", listener.local_addr().unwrap());
    for setting in [
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "remote.log.storage.system.enable=true",
        "create.topic.policy.class.name=com.example.Policy",
        "config.providers=file",
    ] {
        let ended = serve(home.path(), &file("kafkas_server.properties"), &[setting, &taken])
            .wait_with_output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(2), "{setting}");
        let said = String::from_utf8(ended.stderr).unwrap();
        let (key, value) = setting.split_once('=').unwrap();
        assert!(said.contains(key) && said.contains(value), "{said}");
        assert!(!home.path().join("data").exists(), "{setting}");
    }
}
