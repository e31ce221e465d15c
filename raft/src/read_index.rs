//! Linearizable reads: rounds of one read barrier for all reads that wait.
//!
//! One round is under way at a time. Whoever comes meanwhile joins the next:
//! a barrier that began before a read says nothing about writes that were
//! acknowledged since.

use crate::{
    error::ReadIndexError,
    lanes::{Handback, ReadGroup, Returns},
    runtime::stopped,
    state_machine::Raft,
    types::{LogId, TypeConfig},
};
use openraft::{
    ReadPolicy,
    errors::{LinearizableReadError, RaftError},
};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Groups that join one round; those beyond join the one after.
const JOINED_MAX: usize = 256;

/// The task on the raft thread.
pub(crate) struct ReadRounds {
    pub(crate) raft: Raft,
    pub(crate) returns: Arc<Returns>,
    pub(crate) groups: mpsc::Receiver<ReadGroup>,
    pub(crate) stop: watch::Receiver<bool>,
}

impl ReadRounds {
    /// Runs until stopped; then refuses who still waits.
    pub(crate) async fn run(mut self) {
        let mut joined = Vec::with_capacity(JOINED_MAX);
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => break,
                received = self.groups.recv_many(&mut joined, JOINED_MAX) => {
                    if received == 0 {
                        break;
                    }
                }
            }
            let outcome = tokio::select! {
                biased;
                () = stopped(&mut stop) => Err(ReadIndexError::Stopped),
                outcome = barrier(&self.raft) => outcome,
            };
            self.answer(joined.drain(..), outcome);
        }
        self.groups.close();
        while let Some(group) = self.groups.recv().await {
            self.answer(std::iter::once(group), Err(ReadIndexError::Stopped));
        }
    }

    fn answer(&self, groups: impl Iterator<Item = ReadGroup>, outcome: Result<(), ReadIndexError>) {
        for group in groups {
            self.returns
                .send(group.thread, Handback::Reads(group.readers, outcome));
        }
    }
}

/// How far to apply before a read, as the leader that a quorum confirms after
/// the call. `None` where nothing has to be waited for.
pub(crate) async fn read_position(raft: &Raft) -> Result<Option<LogId>, ReadIndexError> {
    let linearizer = raft
        .get_read_linearizer(ReadPolicy::ReadIndex)
        .await
        .map_err(|error| refusal(&error))?;
    Ok(Some(*linearizer.read_log_id().log_id()))
}

/// Returns once all that was committed anywhere before the call is applied here.
async fn barrier(raft: &Raft) -> Result<(), ReadIndexError> {
    let linearizer = raft
        .get_read_linearizer(ReadPolicy::ReadIndex)
        .await
        .map_err(|error| refusal(&error))?;
    linearizer
        .await_ready(raft)
        .await
        .map(|_| ())
        .map_err(|_| ReadIndexError::Stopped)
}

fn refusal(error: &RaftError<TypeConfig, LinearizableReadError<TypeConfig>>) -> ReadIndexError {
    match error {
        RaftError::Fatal(_) => ReadIndexError::Stopped,
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
            match forward.leader_id {
                // It led when the round began, or leads somewhere out of reach.
                Some(_) => ReadIndexError::LeaderChanged,
                None => ReadIndexError::NoLeader,
            }
        }
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => ReadIndexError::TimedOut,
    }
}
