//! Scripts on a cluster: the same lines as on one member, and some that start with `@`.
//!
//! | line | means |
//! |---|---|
//! | `@ at m2` | etcdctl asks this member from here on; `@ at all` asks all |
//! | `@ leader m1` | this member gets the leadership |
//! | `@ kill m3`, `@ start m3` | kill -9; a start on its data, until it is healthy |
//! | `@ join m4` | a start of a member that was added |
//! | `@ caught-up m4` | waits until it has applied what the leader has |
//! | `@ empty m3` | its data is gone |
//! | `@ ended m4` | waits until it ends by itself; how it does is compared |
//!
//! `m1.id`, `m1.peer` and `m1.client` stand for a member's id and URLs. `eventually` at
//! the end of a command repeats it until it succeeds; `=> m4.id` gives a new member its id.

use super::mask::{self, Identity};
use super::run::{self, Output};
use super::script::{self, Step};
use crate::cluster::{Cluster, START_LIMIT};
use crate::wait;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;
use sternpost_proto::etcdserverpb as pb;
use tokio::runtime::Runtime;

/// What stands in front of a line that is not for etcdctl.
const MARK: &str = "@";
/// The word at the end of a command that is repeated.
const EVENTUALLY: &str = "eventually";

/// Runs a script on both clusters, and returns a report of every difference.
///
/// # Panics
/// When a script asks for what can't be, or a member does not do what it must.
#[must_use]
pub fn differences(script: &str, clusters: [&mut Cluster; 2]) -> Vec<String> {
    let steps = script::parse(script);
    let [one, other] = clusters;
    let names = [one.name(), other.name()];
    let (left, right) = std::thread::scope(|scope| {
        let right = scope.spawn(|| Side::new(other).run(&steps));
        let left = Side::new(one).run(&steps);
        match right.join() {
            Ok(right) => (left, right),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    let mut reports = Vec::new();
    for ((step, left), right) in steps.iter().zip(&left).zip(&right) {
        if left != right {
            let mut report = format!("line {}: {}\n", step.line, step.words.join(" "));
            let _ = writeln!(report, "--- {}:\n{left}", names[0]);
            let _ = writeln!(report, "--- {}:\n{right}", names[1]);
            reports.push(report);
        }
    }
    reports
}

/// One cluster, and what the script has bound on it.
struct Side<'a> {
    cluster: &'a mut Cluster,
    runtime: Runtime,
    at: String,
    ids: BTreeMap<String, String>,
    cluster_id: u64,
}

impl<'a> Side<'a> {
    fn new(cluster: &'a mut Cluster) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        let mut side = Self {
            at: cluster.endpoint(0).to_owned(),
            cluster,
            runtime,
            ids: BTreeMap::new(),
            cluster_id: 0,
        };
        for nth in 0..side.cluster.size() {
            let status = side.runtime.block_on(side.settled(nth));
            let header = status.header.expect("an answer has a header");
            side.cluster_id = header.cluster_id;
            let name = format!("{}.id", side.cluster.member(nth).name());
            side.ids.insert(name, format!("{:x}", header.member_id));
        }
        side
    }

    fn run(mut self, steps: &[Step]) -> Vec<Output> {
        let outputs = steps.iter().map(|step| {
            let begun = Instant::now();
            let output = self.step(step);
            // Shown when the test fails, or with --nocapture.
            println!(
                "{} {:?} {}: {}\n{output}",
                self.cluster.name(),
                begun.elapsed(),
                step.line,
                step.words.join(" ")
            );
            output
        });
        outputs.collect()
    }

    fn step(&mut self, step: &Step) -> Output {
        if step.words[0] == MARK {
            return self.act(&step.words[1], &step.words[2]);
        }
        let mut words: Vec<String> = step.words.iter().map(|word| self.named(word)).collect();
        let eventually = words.last().is_some_and(|word| word == EVENTUALLY);
        if eventually {
            words.pop();
        }
        let deadline = Instant::now() + START_LIMIT;
        let raw = loop {
            let raw = run::etcdctl(&self.at, &words, &step.stdin, step.until_lines);
            if !eventually || raw.end == "0" || Instant::now() > deadline {
                break raw;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(100));
        };
        if let Some(name) = &step.bind {
            let id = mask::first_id(&raw.stdout).unwrap_or_default();
            self.ids
                .insert(name.clone(), id.trim_start_matches('0').to_owned());
        }
        let masked = mask::apply(&self.identity(), &BTreeMap::new(), raw);
        in_order(masked)
    }

    /// A word with members' names replaced by what they are here.
    fn named(&self, word: &str) -> String {
        let mut word = word.to_owned();
        for (name, id) in &self.ids {
            word = word.replace(name, id);
        }
        for (value, name) in self.addresses() {
            word = word.replace(&name, &value);
        }
        word
    }

    fn identity(&self) -> Identity {
        let mut names = self.addresses();
        let ids = self.ids.iter().filter(|(_, id)| !id.is_empty());
        for (name, id) in ids {
            let number = u64::from_str_radix(id, 16).unwrap_or_default();
            names.push((number.to_string(), name.clone()));
            // etcdctl pads it here with zeros, there with spaces, elsewhere not at all.
            names.push((format!("{number:016x}"), name.clone()));
            // The space before it tells padding from a space that is meant.
            names.push((format!(" {number:>16x}"), format!(" {name}")));
            names.push((id.clone(), name.clone()));
        }
        names.push((self.cluster_id.to_string(), "CLUSTER".to_owned()));
        names.push((format!(" {:>16x}", self.cluster_id), " CLUSTER".to_owned()));
        names.push((format!("{:x}", self.cluster_id), "CLUSTER".to_owned()));
        Identity::known(names)
    }

    /// URLs first, as an address is a part of them; members that the script may yet add, too.
    fn addresses(&self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        for nth in 0..self.cluster.size() + 3 {
            let name = crate::cluster::member::name(nth);
            let (peer, client) = self.cluster.urls(nth);
            names.push((peer, format!("{name}.peer")));
            let address = client.trim_start_matches("http://").to_owned();
            names.push((client, format!("{name}.client")));
            names.push((address, format!("{name}.address")));
        }
        names
    }

    fn act(&mut self, verb: &str, name: &str) -> Output {
        let nth = self.cluster.position(name);
        match verb {
            "at" if name == "all" => self.at = self.cluster.endpoints(),
            "at" => self.at = self.cluster.endpoint(nth).to_owned(),
            "leader" => self.runtime.block_on(self.cluster.make_leader(nth)),
            "kill" => self.cluster.kill(nth),
            "start" => self.cluster.start(nth),
            "empty" => self.cluster.empty(nth),
            "join" => {
                let joined = self.runtime.block_on(self.cluster.join());
                assert_eq!(joined, nth, "members join in the order of their names");
                self.cluster.spawn(nth);
            }
            "rejoin" => {
                self.runtime.block_on(self.cluster.rejoins(nth));
                self.cluster.spawn(nth);
            }
            "caught-up" => self.runtime.block_on(self.wait_caught_up(nth)),
            "ended" => {
                let (status, _) = self.cluster.wait_end(nth);
                return Output {
                    end: status.to_string(),
                    ..Output::default()
                };
            }
            _ => panic!("{verb} is nothing a script can do"),
        }
        Output::default()
    }

    /// The status of a member once it knows what its storage is: one of the reference
    /// looks for that every few seconds.
    async fn settled(&self, nth: usize) -> pb::StatusResponse {
        wait::until_async("a member's storage version", START_LIMIT, || async {
            let status = self.cluster.status(nth).await?;
            let (minor, _) = status.version.rsplit_once('.')?;
            let settled = status.storage_version == format!("{minor}.0");
            settled.then_some(status)
        })
        .await
    }

    async fn wait_caught_up(&self, nth: usize) {
        wait::until_async("a member that has caught up", START_LIMIT, || async {
            let mut most = 0;
            for other in self.cluster.running() {
                let status = self.cluster.status(other).await?;
                most = most.max(status.raft_index);
            }
            let own = self.cluster.status(nth).await?;
            (own.leader != 0 && own.raft_applied_index >= most).then_some(())
        })
        .await;
        self.settled(nth).await;
    }
}

/// Members come in the order of their ids, and those of members that were added, or have
/// other addresses, are in no order that two clusters share: by their names instead.
fn in_order(mut output: Output) -> Output {
    let mut text = String::new();
    for line in output.stdout.lines() {
        text.push_str(&list_in_order(line));
        text.push('\n');
    }
    // The first member of a list stands right below the header.
    text = text.replacen("\"ID\" : ", "\n\"ID\" : ", 1);
    // Blocks of fields, which an empty line ends, then lines.
    let separator = if text.contains("\n\n") { "\n\n" } else { "\n" };
    let mut parts: Vec<&str> = text.split_terminator(separator).collect();
    parts.sort_unstable();
    output.stdout = parts.join(separator) + separator;
    output
}

/// Objects of a JSON list, or words between commas in quotes.
fn list_in_order(line: &str) -> String {
    for (open, close, between) in [("[{", "}]", "},{"), ("CLUSTER=\"", "\"", ",")] {
        let Some((before, rest)) = line.split_once(open) else {
            continue;
        };
        let Some((inside, after)) = rest.rsplit_once(close) else {
            continue;
        };
        let mut items: Vec<&str> = inside.split(between).collect();
        items.sort_unstable();
        return format!("{before}{open}{}{close}{after}", items.join(between));
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_put_in_one_order() {
        assert_eq!(
            list_in_order(r#"{"members":[{"ID":2},{"ID":1}]}"#),
            r#"{"members":[{"ID":1},{"ID":2}]}"#
        );
        assert_eq!(
            list_in_order("ETCD_INITIAL_CLUSTER=\"b=2,a=1\""),
            "ETCD_INITIAL_CLUSTER=\"a=1,b=2\""
        );
        let output = Output {
            stdout: "\"A\" : 2\n\n\"A\" : 1\n\n".to_owned(),
            ..Output::default()
        };
        assert_eq!(in_order(output).stdout, "\"A\" : 1\n\n\"A\" : 2\n\n");
    }
}
