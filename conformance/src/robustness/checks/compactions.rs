//! A compaction is done once, above those before it and not above what there is; its answer
//! says so, or says why not.

use super::super::compactor::{Compaction, Outcome};
use super::super::operation::Refusal;
use super::super::story::Story;
use super::acknowledged::Acknowledged;

/// All that were asked for.
pub struct Compactions<'a> {
    all: &'a [Compaction],
    /// None above it can have happened.
    last: i64,
}

impl<'a> Compactions<'a> {
    /// In a store with this story.
    #[must_use]
    pub fn new(all: &'a [Compaction], story: &Story) -> Self {
        Self {
            all,
            last: story.last(),
        }
    }

    /// Answers that can't be.
    #[must_use]
    pub fn check(&self, acknowledged: &Acknowledged) -> Vec<String> {
        let mut wrong = Vec::new();
        for one in self.all {
            let why = match &one.outcome {
                Outcome::Open => None,
                Outcome::Done(revision) if *revision < one.revision => Some("beyond its answer"),
                Outcome::Done(_) if self.done(one.revision, one.call) => Some("again"),
                Outcome::Done(_) => None,
                Outcome::Refused(Refusal::Compacted) => {
                    let others = self.all.iter().filter(|other| !std::ptr::eq(*other, one));
                    let mut others = others.filter(|other| self.may_be_done(other, one.back));
                    let done = others.any(|other| other.revision >= one.revision);
                    (!done).then_some("nobody else has compacted that")
                }
                Outcome::Refused(Refusal::Future) => {
                    let known = acknowledged.before(one.call) >= one.revision;
                    known.then_some("it was told before")
                }
                Outcome::Refused(Refusal::Unknown(_)) => Some("no words for that"),
            };
            wrong.extend(why.map(|why| format!("{why}: {one:?}")));
        }
        wrong
    }

    /// Whether the store had been compacted at a revision, or above it, before this time.
    #[must_use]
    pub fn done(&self, revision: i64, before: u64) -> bool {
        let done = self
            .all
            .iter()
            .filter(|one| matches!(one.outcome, Outcome::Done(_)));
        let mut earlier = done.filter(|one| one.back < before);
        earlier.any(|one| one.revision >= revision)
    }

    /// Whether it may have been.
    #[must_use]
    pub fn may_be(&self, revision: i64, before: u64) -> bool {
        let mut earlier = self.all.iter().filter(|one| self.may_be_done(one, before));
        earlier.any(|one| one.revision >= revision)
    }

    /// Whether this may have been the last compaction at some time before.
    #[must_use]
    pub fn may_be_at(&self, revision: i64, before: u64) -> bool {
        let mut earlier = self.all.iter().filter(|one| self.may_be_done(one, before));
        earlier.any(|one| one.revision == revision)
    }

    fn may_be_done(&self, one: &Compaction, before: u64) -> bool {
        let refused = matches!(one.outcome, Outcome::Refused(_));
        !refused && one.call < before && one.revision <= self.last
    }
}
