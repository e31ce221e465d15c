//! Carries steps out on an engine.

use super::{
    Step,
    render::{self, Lines},
};
use crate::{
    apply::{Applied, Entry, EntryPayload},
    error::Rejection,
    ids::{LeaseId, LogMark},
    testing::engine::Engine,
};
use sternpost_proto::etcdserverpb as pb;

/// Runs a whole script on one engine and tells what came of it.
pub fn run(engine: &mut impl Engine, steps: &[Step]) -> String {
    let mut session = Session::default();
    steps
        .iter()
        .map(|step| session.step(engine, step))
        .collect()
}

/// Where a script stands in the raft log. The same steps make the same
/// entries in every session.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    next: LogMark,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            next: LogMark { term: 1, index: 0 },
        }
    }
}

impl Session {
    /// The entries that these payloads become.
    pub fn entries(&mut self, payloads: &[EntryPayload]) -> Vec<Entry> {
        let entry = |payload: &EntryPayload| {
            let mark = self.next;
            self.next.index += 1;
            Entry {
                mark,
                payload: payload.clone(),
            }
        };
        payloads.iter().map(entry).collect()
    }

    /// Carries out one step and tells what came of it.
    pub fn step(&mut self, engine: &mut impl Engine, step: &Step) -> String {
        let mut lines = Lines::default();
        match step {
            Step::Apply(payloads) => {
                let outcomes = engine.apply(&self.entries(payloads));
                outcomes
                    .iter()
                    .for_each(|applied| render::applied(&mut lines, applied));
            }
            Step::Term(term) => self.next.term = self.next.term.max(*term),
            Step::Scrub(None) => while !engine.scrub(usize::MAX) {},
            Step::Scrub(Some(rows_max)) => {
                engine.scrub(*rows_max);
            }
            Step::Flush => engine.flush(),
            Step::Reopen => engine.reopen(),
            Step::Replay => replay(&mut lines, &engine.replay()),
            Step::Verify => verify(&mut lines, engine),
            _ => read(&mut lines, engine, step),
        }
        lines.finish()
    }
}

fn replay(lines: &mut Lines, outcomes: &[Applied]) {
    lines.line(format!("replayed, {} outcomes", outcomes.len()));
}

/// The steps that change nothing.
fn read(lines: &mut Lines, engine: &impl Engine, step: &Step) {
    match step {
        Step::Range(request) => answer(lines, engine.range(request), |lines, response| {
            assert_eq!(response.header, None, "an outer header");
            render::range(lines, "", &response);
        }),
        Step::Stream(chunk, request) => {
            answer(lines, engine.stream(request, *chunk), |lines, streamed| {
                render::streamed(lines, &streamed);
            })
        }
        Step::ReadTxn(request) => answer(lines, engine.read_txn(request), |lines, response| {
            assert_eq!(response.header, None, "an outer header");
            render::txn(lines, "", &response);
        }),
        Step::Count(key, range_end) => {
            lines.line(format!("count {}", engine.count(key, range_end)))
        }
        Step::History(from, revisions_max) => {
            answer(
                lines,
                engine.history(*from, *revisions_max),
                |lines, history| {
                    render::history(lines, engine, &history);
                },
            );
        }
        Step::Hash(revision) => answer(lines, engine.hash_kv(*revision), |lines, hash| {
            lines.line(render::hash(&hash));
        }),
        Step::Leases => engine
            .leases()
            .iter()
            .for_each(|lease| lines.line(render::lease_text(lease))),
        Step::Lease(id) => lease(lines, engine, LeaseId(*id)),
        Step::Alarms => lines.line(format!("alarms {}", render::alarms_text(&engine.alarms()))),
        Step::Info => lines.line(render::summary(&engine.summary())),
        Step::Cluster => cluster(lines, engine),
        _ => unreachable!("the steps that change something are handled apart"),
    }
}

fn answer<T>(lines: &mut Lines, answer: Result<T, Rejection>, show: impl FnOnce(&mut Lines, T)) {
    match answer {
        Ok(answer) => show(lines, answer),
        Err(rejection) => lines.line(render::rejected(rejection)),
    }
}

fn lease(lines: &mut Lines, engine: &impl Engine, id: LeaseId) {
    match engine.lease(id) {
        Some(lease) => lines.line(render::lease_text(&lease)),
        None => lines.line(format!("no lease {}", id.0)),
    }
    let keys = engine.lease_keys(id);
    lines.indented(|lines| {
        keys.iter()
            .for_each(|key| lines.line(format!("key {}", super::print::quote(key))))
    });
}

fn cluster(lines: &mut Lines, engine: &impl Engine) {
    lines.line(format!(
        "cluster version {}",
        engine.cluster_version().as_deref().unwrap_or("undecided")
    ));
    for (id, member) in engine.members() {
        let standing = match (member.is_learner, member.is_joining) {
            (true, _) => " learner",
            (_, true) => " joining",
            _ => "",
        };
        let urls = format!(
            "peers {:?} clients {:?}",
            member.peer_urls, member.client_urls
        );
        lines.line(format!(
            "member {} {:?}{standing} {urls}",
            id.0, member.name
        ));
    }
}

/// All that can be read: every readable revision, its hash, the history from
/// everywhere, counts, leases, alarms.
fn verify(lines: &mut Lines, engine: &impl Engine) {
    let summary = engine.summary();
    lines.line(render::summary(&summary));
    let first = summary.compact_revision.max(1);
    for revision in first..=summary.revision {
        lines.line(format!("at {revision}"));
        lines.indented(|lines| verify_revision(lines, engine, revision));
    }
    for revision in [first - 1, 0, -1, summary.revision + 1] {
        let step = Step::Hash(revision);
        read(lines, engine, &step);
        read(lines, engine, &Step::Range(everything(revision)));
    }
    verify_history(lines, engine, summary.compact_revision, summary.revision);
    let keys: Vec<_> = engine
        .range(&everything(0))
        .map(|response| response.kvs)
        .unwrap_or_default();
    let counts: Vec<i64> = keys.iter().map(|kv| engine.count(&kv.key, b"\0")).collect();
    lines.line(format!("counts from each key {counts:?}"));
    for info in engine.leases() {
        lease(lines, engine, info.id);
    }
    read(lines, engine, &Step::Alarms);
    cluster(lines, engine);
}

fn everything(revision: i64) -> pb::RangeRequest {
    let all = bytes::Bytes::from_static(b"\0");
    pb::RangeRequest {
        key: all.clone(),
        range_end: all,
        revision,
        ..Default::default()
    }
}

fn verify_revision(lines: &mut Lines, engine: &impl Engine, revision: i64) {
    let all = everything(revision);
    read(lines, engine, &Step::Range(all.clone()));
    read(
        lines,
        engine,
        &Step::Stream(
            2,
            pb::RangeRequest {
                limit: 3,
                ..all.clone()
            },
        ),
    );
    read(
        lines,
        engine,
        &Step::Range(pb::RangeRequest {
            count_only: true,
            ..all
        }),
    );
    read(lines, engine, &Step::Hash(revision));
}

/// The history in full, and that from each later revision it is its tail.
fn verify_history(lines: &mut Lines, engine: &impl Engine, compact_revision: i64, revision: i64) {
    let whole = engine
        .history(compact_revision, usize::MAX)
        .expect("the compact revision is readable");
    render::history(lines, engine, &whole);
    for from in compact_revision..=revision + 1 {
        let tail: Vec<_> = whole
            .iter()
            .filter(|events| events.revision >= from)
            .cloned()
            .collect();
        let history = engine
            .history(from, usize::MAX)
            .expect("a readable revision");
        assert_eq!(
            history, tail,
            "the history from {from} is not the tail of the whole"
        );
        let two = engine.history(from, 2).expect("a readable revision");
        assert_eq!(
            two,
            tail[..tail.len().min(2)],
            "two revisions of history from {from}"
        );
    }
    let below = engine.history(compact_revision - 1, usize::MAX);
    assert_eq!(
        below,
        Err(Rejection::Compacted),
        "the history from below the compact revision"
    );
}
