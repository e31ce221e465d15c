//! What a log must hold, by the simplest means.

use super::{content, entry};
use openraft::{
    RaftLogReader as _,
    storage::{IOFlushed, RaftLogStorage as _},
    type_config::{TypeConfigExt as _, alias::OneshotReceiverOf},
};
use std::{collections::BTreeMap, io};
use sternpost_raft::{
    LogStore,
    types::{LogId, TypeConfig, Vote, log_id},
};

/// Tells when what was asked for is durable.
pub type Receiver = OneshotReceiverOf<TypeConfig, io::Result<()>>;

/// One call.
#[derive(Clone, Debug)]
pub enum Call {
    /// This many entries of this many bytes, in a term that is newer by so much.
    Append {
        count: u64,
        bytes: usize,
        newer: u64,
    },
    /// This many of the last entries go.
    Truncate { count: u64 },
    /// This many of the first entries go.
    Purge { count: u64 },
    /// All entries go, and so many that never were here: a snapshot came.
    PurgeBeyond { count: u64 },
    /// A vote in the term that is newer by so much.
    Vote { newer: u64 },
    /// The last entry is committed.
    Committed,
}

/// The state of a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    /// Term and length by index.
    pub entries: BTreeMap<u64, (u64, usize)>,
}

impl Model {
    /// What a log holds.
    pub async fn of(log: &mut LogStore) -> Self {
        let model = Self {
            vote: log.read_vote().await.unwrap(),
            committed: log.read_committed().await.unwrap(),
            purged: log.get_log_state().await.unwrap().last_purged_log_id,
            entries: Self::of_entries(log).await,
        };
        let state = log.get_log_state().await.unwrap();
        assert_eq!(state.last_log_id, model.last());
        model
    }

    /// Term and length of each entry, whose content must fit to them.
    pub async fn of_entries(log: &mut LogStore) -> BTreeMap<u64, (u64, usize)> {
        let entries = log.try_get_log_entries(..).await.unwrap();
        let found = entries.iter().map(|found| {
            let (term, index, bytes) = content(found);
            assert_eq!(bytes, content(&entry(term, index, bytes.len())).2);
            (index, (term, bytes.len()))
        });
        let found: BTreeMap<_, _> = found.collect();
        let indexes = found.first_key_value().map_or(0, |(index, _)| *index)..;
        assert!(
            found.keys().copied().eq(indexes.take(found.len())),
            "a hole"
        );
        found
    }

    pub fn last(&self) -> Option<LogId> {
        let last = self.entries.last_key_value();
        last.map(|(index, (term, _))| log_id(*term, *index))
            .or(self.purged)
    }

    fn term(&self) -> u64 {
        self.last().map_or(1, |last| last.leader_id.term)
    }

    fn end(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    fn first(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }

    /// Makes a call on the log. Returns the states after each of its records,
    /// and what tells when all are durable.
    pub async fn call(&self, log: &mut LogStore, call: &Call) -> (Vec<Self>, Option<Receiver>) {
        let mut next = self.clone();
        match *call {
            Call::Append {
                count,
                bytes,
                newer,
            } => return self.append(log, count, bytes, newer).await,
            Call::Truncate { count } => {
                let end = self.end().saturating_sub(count).max(self.first());
                next.entries.split_off(&end);
                log.truncate_after(next.last()).await.unwrap();
            }
            Call::Purge { count } => {
                let upto = (self.first() + count).min(self.end()).checked_sub(1);
                let Some((upto, (term, _))) =
                    upto.and_then(|upto| self.entries.get_key_value(&upto))
                else {
                    return (Vec::new(), None);
                };
                next.purged = Some(log_id(*term, *upto));
                next.entries = next.entries.split_off(&(upto + 1));
                log.purge(log_id(*term, *upto)).await.unwrap();
            }
            Call::PurgeBeyond { count } => {
                let upto = log_id(self.term(), self.end() + count);
                next.purged = Some(upto);
                next.entries.clear();
                log.purge(upto).await.unwrap();
            }
            Call::Vote { newer } => {
                let term = self.vote.map_or(0, |vote| vote.leader_id.term) + newer;
                next.vote = Some(Vote::new(term, 3));
                log.save_vote(&Vote::new(term, 3)).await.unwrap();
                let (sender, receiver) = TypeConfig::oneshot();
                IOFlushed::<TypeConfig>::signal(sender).io_completed(Ok(()));
                return (vec![next], Some(receiver));
            }
            Call::Committed => {
                next.committed = self.last();
                log.save_committed(next.committed).await.unwrap();
            }
        }
        (vec![next], None)
    }

    async fn append(
        &self,
        log: &mut LogStore,
        count: u64,
        bytes: usize,
        newer: u64,
    ) -> (Vec<Self>, Option<Receiver>) {
        let term = self.term() + newer;
        let (sender, receiver) = TypeConfig::oneshot();
        let range = self.end()..self.end() + count;
        let entries = range.clone().map(|index| entry(term, index, bytes));
        let done = IOFlushed::signal(sender);
        log.append(entries, done).await.unwrap();
        let mut states = Vec::new();
        for index in range {
            let mut next = states.last().unwrap_or(self).clone();
            next.entries.insert(index, (term, bytes));
            states.push(next);
        }
        (states, Some(receiver))
    }
}
