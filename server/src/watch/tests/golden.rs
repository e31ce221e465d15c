//! Scripts in `server/testscripts/watch`: one behaviour a file. Blocks are
//! parted by blank lines; `---` parts statements from what they must tell.
//! `UPDATE=1` rewrites the expectations; read the difference before it stays.
//!
//! ```text
//! open STREAM [hasleader]      close STREAM
//! create STREAM RANGE [rev=N] [id=N] [prev_kv] [noput] [nodelete] [fragment] [progress]
//! cancel STREAM ID             progress STREAM           tick STREAM
//! publish [N]                  the hub takes so many chunks, or all
//! lag                          the feed drops what the hub has not taken
//! history [N]                  a turn of history, of at most N revisions
//! read STREAM [N]              the client reads so many responses, or all
//! leaderless   stop   counts
//! ```
//!
//! `RANGE` is `KEY`, `KEY..END` or `KEY..`. Everything else is a statement of
//! storage's script language (`put`, `delete`, `txn`, `chunk`, `compact`).

use super::*;
use crate::watch::registry::{Form, Selector};
use std::{collections::BTreeMap, env, fmt::Write, fs, path::Path};
use sternpost_proto::mvccpb;
use sternpost_storage::testing::script::{Step, parse};

/// Small enough that a script can fill a queue and see a response split.
const LIMITS: Limits = Limits {
    queue_bytes: 1000,
    all_queues_bytes: 5000,
    crowded_queue_bytes: 200,
    fragment_bytes: 200,
};

struct Script {
    world: World,
    streams: BTreeMap<String, SessionKey>,
}

impl Script {
    fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut told = String::new();
        match words.as_slice() {
            [] | ["#", ..] => {}
            ["open", name, rest @ ..] => {
                let key = self.world.delivery.open(rest.contains(&"hasleader"));
                self.streams.insert((*name).to_owned(), key);
            }
            ["close", name] => {
                let key = self.streams.remove(*name).expect("an open stream");
                self.world.delivery.close(key);
            }
            ["create", name, range, options @ ..] => {
                self.world
                    .create(self.streams[*name], create_request(range, options));
            }
            ["cancel", name, id] => {
                let revision = self.world.revision();
                self.world
                    .delivery
                    .cancel(self.streams[*name], number(id), revision);
            }
            ["progress", name] => {
                let revision = self.world.revision();
                self.world.delivery.progress(self.streams[*name], revision);
            }
            ["tick", name] => self.world.delivery.tick(self.streams[*name]),
            ["publish"] => while self.world.publish() {},
            ["publish", count] => {
                (0..number(count)).for_each(|_| assert!(self.world.publish(), "a chunk is there"))
            }
            ["lag"] => self.world.lag(),
            ["history", rest @ ..] => {
                told = self.history(rest.first().map_or(1000, |count| number(count)))
            }
            ["read", name, rest @ ..] => {
                told = self.read(name, rest.first().map_or(i64::MAX, |count| number(count)))
            }
            ["leaderless"] => self.world.delivery.end_leaderless(),
            ["stop"] => self.world.delivery.end_all(End::Stopped),
            ["counts"] => writeln!(told, "{:?}", self.world.delivery.counts()).expect("a string"),
            _ => self.apply(line),
        }
        told
    }

    fn apply(&mut self, line: &str) {
        for step in parse(line).unwrap_or_else(|error| panic!("{line}: {error}")) {
            match step {
                Step::Apply(payloads) => drop(self.world.apply(payloads)),
                other => panic!("{line}: {other:?} has no place here"),
            }
        }
    }

    fn history(&mut self, revisions_max: i64) -> String {
        let Some(turn) = self
            .world
            .read_history(usize::try_from(revisions_max).expect("a count"))
        else {
            return "nobody waits\n".to_owned();
        };
        self.world.serve(&turn);
        let last = turn
            .history
            .last()
            .map_or(turn.from - 1, |last| last.revision);
        format!("history {}..={last}\n", turn.from)
    }

    fn read(&mut self, name: &str, count: i64) -> String {
        let key = self.streams[name];
        let mut told = String::new();
        for _ in 0..count {
            match self.world.receive(key) {
                Some(Ok(response)) => told += &render(name, &response),
                Some(Err(end)) => return told + &format!("{name} ends: {end:?}\n"),
                None => break,
            }
        }
        if told.is_empty() {
            format!("{name} has nothing\n")
        } else {
            told
        }
    }
}

fn number(word: &str) -> i64 {
    word.parse()
        .unwrap_or_else(|_| panic!("{word} is not a number"))
}

fn create_request(range: &str, options: &[&str]) -> CreateRequest {
    let (key, end) = match range.split_once("..") {
        Some((key, "")) => (key, "\0"),
        Some((key, end)) => (key, end),
        None => (range, ""),
    };
    let key = if key == "\"\"" { "" } else { key };
    let value = |name: &str| {
        options
            .iter()
            .find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
            .map_or(0, number)
    };
    let has = |name: &str| options.contains(&name);
    CreateRequest {
        selector: Selector::parse(key.as_bytes(), end.as_bytes()),
        start_revision: value("rev"),
        watch_id: value("id"),
        form: Form {
            prev_kv: has("prev_kv"),
            skip_puts: has("noput"),
            skip_deletes: has("nodelete"),
            fragment: has("fragment"),
        },
        progress_notify: has("progress"),
    }
}

fn render(name: &str, response: &pb::WatchResponse) -> String {
    let header = response.header.expect("always a header");
    assert_eq!(
        (header.cluster_id, header.member_id, header.raft_term),
        (1, 2, 3)
    );
    let mut told = format!(
        "{name} id {} revision {}",
        response.watch_id, header.revision
    );
    for (set, word) in [
        (response.created, "created"),
        (response.canceled, "canceled"),
        (response.fragment, "fragment"),
    ] {
        if set {
            told = told + " " + word;
        }
    }
    if response.compact_revision != 0 {
        write!(told, " compact_revision {}", response.compact_revision).expect("a string");
    }
    if !response.cancel_reason.is_empty() {
        write!(told, " because {:?}", response.cancel_reason).expect("a string");
    }
    told.push('\n');
    for event in &response.events {
        let kv = event.kv.as_ref().expect("always a pair");
        let kind = if event.r#type == i32::from(mvccpb::event::EventType::Put) {
            "put"
        } else {
            "delete"
        };
        write!(told, "  {kind} {}", pair(kv)).expect("a string");
        if let Some(previous) = &event.prev_kv {
            write!(told, ", before {}", pair(previous)).expect("a string");
        }
        told.push('\n');
    }
    told
}

/// A pair with the fields that are set.
fn pair(kv: &mvccpb::KeyValue) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut told = text(&kv.key);
    if !kv.value.is_empty() {
        let value = text(&kv.value);
        told += &if value.len() > 20 {
            format!("={}... ({} bytes)", &value[..8], value.len())
        } else {
            format!("={value}")
        };
    }
    for (name, value) in [
        ("create", kv.create_revision),
        ("mod", kv.mod_revision),
        ("version", kv.version),
        ("lease", kv.lease),
    ] {
        if value != 0 {
            told += &format!(" {name} {value}");
        }
    }
    told
}

/// The script with the output that its statements have now.
fn replay(text: &str) -> String {
    let mut script = Script {
        world: World::new(LIMITS),
        streams: BTreeMap::new(),
    };
    let mut blocks = Vec::new();
    for block in text.split("\n\n") {
        let statements = block
            .split("---")
            .next()
            .expect("split gives one")
            .trim_end();
        let told: String = statements.lines().map(|line| script.run(line)).collect();
        blocks.push(format!("{statements}\n---\n{told}"));
    }
    blocks.join("\n")
}

#[test]
fn scripts_tell_what_they_should() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts/watch");
    let entries = fs::read_dir(&directory).expect("the scripts' directory");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("a directory entry").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", directory.display());
    for path in paths {
        let text = fs::read_to_string(&path).expect("a script");
        let told = replay(&text);
        if env::var_os("UPDATE").is_some() {
            fs::write(&path, &told).expect("the script is writable");
        } else {
            assert_eq!(told, text, "{}", path.display());
        }
    }
}
