//! Keeps what a compiler cannot: sizes, names, words, that each invariant is named by a test, and that each answer better than Kafka's says why.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const LINES_MAX: usize = 900;

/// Folders that hold what tools made or what others wrote.
const FOREIGN: [&str; 8] =
    ["target", "node_modules", ".venv", ".git", "golden", "classes", "corpus", "artifacts"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn files(under: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(under).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if FOREIGN.contains(&name) {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn texts(extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(&root(), &mut found);
    found.sort();
    found
        .into_iter()
        .filter(|path| {
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
            extensions.is_empty() || extensions.contains(&extension)
        })
        .filter_map(|path| {
            let text = String::from_utf8(fs::read(&path).unwrap()).ok()?;
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            Some((name, text))
        })
        .collect()
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn no_source_is_longer_than_a_reader_can_hold() {
    let long: Vec<_> = texts(&["rs"])
        .iter()
        .filter(|(_, text)| text.lines().count() > LINES_MAX)
        .map(|(name, text)| format!("{name}: {} lines", text.lines().count()))
        .collect();
    none("files over 900 lines", &long);
}

#[test]
fn sources_are_ascii() {
    let odd: Vec<_> = texts(&["rs"])
        .iter()
        .filter(|(_, text)| !text.is_ascii())
        .map(|(name, _)| name.clone())
        .collect();
    none("sources with other than ASCII", &odd);
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let vague = ["utils", "util", "helpers", "helper", "common", "manager", "misc"];
    let named: Vec<_> = texts(&["rs"])
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| {
            let path = Path::new(name);
            path.components()
                .chain(path.file_stem().map(|s| Path::new(s).components().next().unwrap()))
                .any(|part| vague.contains(&part.as_os_str().to_str().unwrap()))
        })
        .collect();
    none("files named after nothing", &named);
}

#[test]
fn no_source_leaves_work_to_a_comment() {
    // Spelled in halves so that this file does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("unimple", "mented!("),
    ];
    let mut found = Vec::new();
    for (name, text) in texts(&["rs"]) {
        for (at, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    none("left open in sources", &found);
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    let words = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/home", "/"),
        concat!("registry.npm", "js.org"),
        concat!("proxy.go", "lang.org"),
        concat!("files.python", "hosted.org"),
        concat!("repo.ma", "ven.apache.org"),
        concat!("deb.deb", "ian.org"),
        concat!("static.crates", ".io"),
    ];
    let mut found = Vec::new();
    for (name, text) in texts(&[]) {
        for (at, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{name}:{}", at + 1));
            }
        }
    }
    none("machine paths and registry hosts", &found);
}

#[test]
fn ignored_tests_say_why_and_tests_do_not_sleep() {
    let mut found = Vec::new();
    let sleep = concat!("thread::sl", "eep(");
    let bare = concat!("#[ign", "ore]");
    for (name, text) in texts(&["rs"]) {
        for (at, line) in text.lines().enumerate() {
            if line.contains(bare) || line.contains(sleep) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    none("ignored without a reason, or sleeping", &found);
}

#[test]
fn every_invariant_stands_in_the_name_of_a_test() {
    let list = fs::read_to_string(root().join("docs/invariants.md")).unwrap();
    let (now, _later) = list.split_once("\n## Later").unwrap();
    let ids: Vec<_> = now
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|line| line.split_once(" |"))
        .map(|(id, _)| id.to_lowercase())
        .filter(|id| id != "id")
        .collect();
    assert!(ids.len() >= 15, "the list of invariants was read wrongly: {ids:?}");
    let sources = texts(&["rs"]);
    let guarded: BTreeSet<_> = sources.iter().flat_map(|(_, text)| guarded(text)).collect();
    let unguarded: Vec<_> = ids.into_iter().filter(|id| !guarded.contains(id.as_str())).collect();
    none("invariants that no test names", &unguarded);
}

/// The invariants in the names of a source's tests: those that a name begins with (`l1_l2_p2_...`), or that follow the row of a table
/// (`row_4_p3_...`). Pitfalls are counted with the same letters and stand behind `pf` (`t9_pf_p2_...`).
fn guarded(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut tested = false;
    for line in text.lines().map(str::trim_start) {
        let line = line.strip_prefix("async ").unwrap_or(line);
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            tested = true;
        } else if let Some(name) = line.strip_prefix("fn ") {
            let name = name.split(['(', '<']).next().unwrap();
            let row = name.strip_prefix("row_").and_then(|rest| rest.split_once('_'));
            let words = row.map_or(name, |(_, rest)| rest).split('_');
            if std::mem::take(&mut tested) {
                found.extend(words.take_while(|word| is_id(word)));
            }
        } else if !line.starts_with(['#', '/']) {
            tested = false;
        }
    }
    found
}

/// A letter and a number.
fn is_id(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase()) && chars.as_str().parse::<u32>().is_ok()
}

#[test]
fn only_the_names_of_tests_guard_and_no_pitfalls() {
    let tests =
        "#[test]\n#[cfg(unix)]\nfn l1_t9_pf_p2_a() {}\n#[tokio::test]\nasync fn row_4_p3_b() {}";
    assert_eq!(guarded(tests), BTreeSet::from(["l1", "p3", "t9"]));
    let others =
        "#[test]\nfn pf_c5_a() {}\nfn c1_b() {}\n#[test]\nfn reads_c2_c() {\nfn c3_inside() {}\n}";
    assert_eq!(guarded(others), BTreeSet::new());
}

#[test]
fn every_deviation_cites_the_line_that_it_keeps() {
    let mut deviations = Vec::new();
    files(&root().join("tests/probe/deviations"), &mut deviations);
    assert!(!deviations.is_empty(), "there are no deviations where they are looked for");
    let bare: Vec<_> = deviations
        .iter()
        .filter(|path| !cites(fs::read_to_string(path).unwrap().lines().next().unwrap_or("")))
        .map(|path| path.display().to_string())
        .collect();
    none("answers that are not Kafka's and cite nothing", &bare);
}

/// Whether it is `# docs/FILE.md: "words that stand there"; why`, or has a KIP or a ticket of Kafka's in the place of the file.
fn cites(first: &str) -> bool {
    let Some((source, said)) = first.strip_prefix("# ").and_then(|line| line.split_once(": "))
    else {
        return false;
    };
    if let Some(number) = ["KIP-", "KAFKA-"].iter().find_map(|kind| source.strip_prefix(kind)) {
        return number.parse::<u32>().is_ok();
    }
    let quoted = said.strip_prefix('"').and_then(|said| said.split_once("\"; "));
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    quoted.is_some_and(|(quoted, _)| {
        let text = fs::read_to_string(root().join(source));
        source.starts_with("docs/") && text.is_ok_and(|text| words(&text).contains(&words(quoted)))
    })
}
