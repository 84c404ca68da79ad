//! `hanbeon serve` ends well at the first signal, whenever it comes and whoever still listens to what it says.
#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

mod served;

use std::path::Path;

use served::Served;

/// What a broker leaves in a directory that it has closed, as Kafka does.
const CLEAN: &str = ".kafka_cleanshutdown";

fn is_clean(dir: &Path) -> bool {
    dir.join(CLEAN).exists()
}

/// Of `| head -1`, or of a supervisor that has died: nothing that is written arrives.
#[test]
fn a_broker_whose_output_nobody_reads_stops_when_it_is_told_to() {
    let home = tempfile::tempdir().unwrap();
    let served = Served::unread(home.path());
    assert_eq!(served.terminate().code(), Some(0));
    assert!(is_clean(home.path()));
}

#[test]
fn a_signal_right_behind_the_line_that_says_it_listens_stops_cleanly() {
    for round in 0..20 {
        let home = tempfile::tempdir().unwrap();
        let served = Served::start(home.path(), "127.0.0.1:0", &[]);
        assert_eq!(served.terminate().code(), Some(0), "round {round}");
        assert!(is_clean(home.path()), "round {round}");
    }
}
