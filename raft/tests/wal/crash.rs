//! The power goes, at any moment: what was acknowledged is there, and what is
//! there is a state that the log went through.

use crate::support::{
    forgetful::Forgetful,
    model::{Call, Model},
    open_in, run, try_open_in,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A log, all states it went through, and how many are acknowledged.
struct Story {
    files: Forgetful,
    log: sternpost_raft::LogStore,
    states: Vec<Model>,
    acknowledged: Arc<AtomicUsize>,
}

impl Story {
    fn begin(files: Forgetful) -> Self {
        let (log, _) = open_in(&files);
        Self {
            files,
            log,
            states: vec![Model::default()],
            acknowledged: Arc::default(),
        }
    }

    /// Makes a call, and waits until it is durable or not.
    async fn call(&mut self, call: &Call, wait: bool) {
        let now = self.states[self.states.len() - 1].clone();
        let (states, receiver) = now.call(&mut self.log, call).await;
        self.states.extend(states);
        if let Some(receiver) = receiver
            && wait
        {
            receiver.await.unwrap().unwrap();
            let durable = self.states.len() - 1;
            self.acknowledged.store(durable, Ordering::SeqCst);
        }
    }

    /// The log after a power cut must be one that is not older than what had
    /// been acknowledged. Returns which.
    async fn check(&self, acknowledged: usize, after: &Forgetful) -> usize {
        let (mut log, found) = open_in(after);
        let model = Model::of(&mut log).await;
        assert_eq!(found.last, model.last());
        let at = self.states.iter().rposition(|state| *state == model);
        let at = at.unwrap_or_else(|| panic!("never was: {model:?}"));
        assert!(
            at >= acknowledged,
            "state {at} came back, though {acknowledged} was acknowledged"
        );
        at
    }
}

/// Which unsynced sectors survive.
fn arrivals() -> [fn(u64) -> bool; 4] {
    [
        |_| false,
        |_| true,
        |sector| sector.is_multiple_of(2),
        |sector| !sector.is_multiple_of(2),
    ]
}

#[test]
fn before_every_single_operation() {
    let files = Forgetful::default();
    let mut story = Story::begin(files.clone());
    let images: Arc<Mutex<Vec<(usize, Forgetful)>>> = Arc::default();
    let (collected, acknowledged) = (images.clone(), story.acknowledged.clone());
    files.watch(move |files| {
        let acknowledged = acknowledged.load(Ordering::SeqCst);
        for arrives in arrivals() {
            let mut sector = 0;
            let image = files.power_cut(|| {
                sector += 1;
                arrives(sector)
            });
            collected.lock().push((acknowledged, image));
        }
    });
    let append = |count, bytes, newer| Call::Append {
        count,
        bytes,
        newer,
    };
    let mut calls = vec![
        Call::Vote { newer: 1 },
        append(3, 100, 0),
        Call::Committed,
        append(8, 900, 0),
        Call::Truncate { count: 5 },
        append(2, 6000, 1),
        Call::Purge { count: 6 },
        append(4, 1500, 0),
        Call::Vote { newer: 2 },
        Call::Purge { count: 4 },
        append(30, 400, 1),
        Call::Committed,
        Call::Purge { count: 20 },
        append(10, 300, 0),
        Call::PurgeBeyond { count: 50 },
        append(5, 700, 0),
        append(40, 10, 0),
    ];
    // More than a sector of records that nobody waits for, and a write behind.
    calls.extend((0..30).map(|_| Call::Purge { count: 1 }));
    calls.push(append(2, 900, 0));
    run(async {
        for (at, call) in calls.iter().enumerate() {
            let seen = images.lock().len();
            story.call(call, at % 3 != 1).await;
            // One write each, not one for all of them.
            while matches!(call, Call::Purge { count: 1 }) && images.lock().len() == seen {
                std::thread::yield_now();
            }
        }
        story.log.close();
        let images = std::mem::take(&mut *images.lock());
        assert!(images.len() > 200, "{}", images.len());
        for (acknowledged, image) in images {
            story.check(acknowledged, &image).await;
        }
        let end = story.check(story.states.len() - 1, &story.files).await;
        assert_eq!(end, story.states.len() - 1);
    });
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        6 => (1u64..6, 0usize..900, 0u64..2).prop_map(|(count, bytes, newer)| Call::Append {
            count,
            bytes,
            newer,
        }),
        1 => (0u64..5).prop_map(|count| Call::Truncate { count }),
        1 => (1u64..15).prop_map(|count| Call::Purge { count }),
        1 => (0u64..3).prop_map(|count| Call::PurgeBeyond { count }),
        1 => (0u64..3).prop_map(|newer| Call::Vote { newer }),
        2 => Just(Call::Committed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Lives and power cuts in turn: each life goes on from what the last
    /// one left, in files full of its leftovers.
    #[test]
    fn again_and_again(
        lives in prop::collection::vec(
            (prop::collection::vec((call(), any::<bool>()), 0..25), any::<u64>()),
            1..6,
        ),
    ) {
        run(async {
            let mut story = Story::begin(Forgetful::default());
            for (calls, luck) in lives {
                for (call, wait) in calls {
                    story.call(&call, wait).await;
                }
                let acknowledged = story.acknowledged.load(Ordering::SeqCst);
                let mut luck = luck | 1;
                let after = story.files.power_cut(|| {
                    luck ^= luck << 13;
                    luck ^= luck >> 7;
                    luck ^= luck << 17;
                    luck & 1 == 0
                });
                let at = story.check(acknowledged, &after).await;
                let states = vec![story.states[at].clone()];
                let (log, _) = open_in(&after);
                story = Story {
                    files: after,
                    log,
                    states,
                    acknowledged: Arc::default(),
                };
            }
        });
    }
}

/// After a cut-off write, the same entry is sent again and written to the same
/// place, in front of intact leftovers of the first attempt. In the first life
/// of a log, and in a later one.
#[test]
fn leftovers_behind_the_same_bytes_stay_dead() {
    run(async {
        let mut files = Forgetful::default();
        let mut story = Story::begin(files.clone());
        story.call(&one(300), true).await;
        for damaged in [10, 100, 10, 10] {
            let before = files.copy();
            let now = story.states[1].clone();
            let (_, done) = now.call(&mut story.log, &some(3, 300)).await;
            done.unwrap().await.unwrap().unwrap();
            // The mark or the first of the three did not arrive whole, the
            // others did.
            let name = files_of(&files)[0].clone();
            let mut bytes = files.read(&name);
            let start = first_difference(&before.read(&name), &bytes);
            bytes[start + damaged] ^= 1;
            files = before;
            files.put(&name, Some(bytes));

            let resent = files.copy();
            let (mut log, _) = open_in(&resent);
            assert_eq!(Model::of(&mut log).await, now);
            let (states, done) = now.call(&mut log, &one(300)).await;
            done.unwrap().await.unwrap().unwrap();
            let (mut log, _) = open_in(&resent.copy());
            assert_eq!(Model::of(&mut log).await, states[0]);
            story.log = open_in(&files).0;
        }
    });
}

/// What only the process's death has left unsynced is made durable before
/// anybody hears of it.
#[test]
fn what_is_found_is_durable() {
    run(async {
        let files = Forgetful::default();
        let mut story = Story::begin(files.clone());
        story.call(&one(300), true).await;
        files.lie_about_syncs();
        story.call(&some(3, 300), true).await;
        story.call(&Call::Vote { newer: 4 }, true).await;
        drop(story.log);
        files.tell_the_truth_about_syncs();
        let (mut log, found) = open_in(&files);
        assert_eq!(Some(&Model::of(&mut log).await), story.states.last());
        let (mut log, after) = open_in(&files.power_cut(|| false));
        assert_eq!(Some(&Model::of(&mut log).await), story.states.last());
        assert_eq!(after, found);
    });
}

fn one(bytes: usize) -> Call {
    some(1, bytes)
}

fn some(count: u64, bytes: usize) -> Call {
    Call::Append {
        count,
        bytes,
        newer: 0,
    }
}

fn files_of(files: &Forgetful) -> Vec<String> {
    use sternpost_raft::wal::files::Files as _;
    let mut names = files.list().unwrap();
    names.retain(|name| !name.starts_with("spare"));
    names
}

fn first_difference(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).position(|(l, r)| l != r).unwrap()
}

/// The file ends in zeros from any offset on: a prefix of the log is there,
/// and the log goes on from it.
#[test]
fn a_last_segment_that_ends_anywhere() {
    run(async {
        let files = Forgetful::default();
        let mut story = Story::begin(files.clone());
        for _ in 0..5 {
            story.call(&one(200), true).await;
        }
        let copy = files.copy();
        let name = files_of(&copy)[0].clone();
        let whole = copy.read(&name);
        let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for cut in 100..=end + 1 {
            let mut bytes = whole.clone();
            bytes[cut..].fill(0);
            let torn = copy.copy();
            torn.put(&name, Some(bytes));
            // The header is never cut: it was durable before the name was.
            let Ok((mut log, _)) = try_open_in(&torn) else {
                panic!("cut at {cut}");
            };
            let at = Model::of(&mut log).await;
            assert_eq!(at, story.states[at.entries.len()]);
            seen.insert(at.entries.len());
            let (states, done) = at.call(&mut log, &one(150)).await;
            done.unwrap().await.unwrap().unwrap();
            drop(log);
            let (mut log, _) = open_in(&torn);
            assert_eq!(Model::of(&mut log).await, states[0]);
        }
        assert!(seen.into_iter().eq(0..=5));
    });
}
