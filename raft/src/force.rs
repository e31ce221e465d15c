//! `--force-new-cluster`: this member goes on alone, with its data.
//!
//! Written into the log before anything runs: an entry that leaves this member
//! as the only one. What stands before it stays, also what was not known to be
//! committed: it may have been acknowledged. The other members must not be
//! started again.

use crate::{
    codec,
    error::OpenError,
    log_store::{LogStore, Recovered},
    types::{Entry, EntryPayload, Membership, Node, StoredMembership, log_id},
};
use openraft::{
    RaftLogReader as _,
    storage::{IOFlushed, RaftLogStorage as _},
};
use prost::Message as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};
use sternpost_proto::internal;
use sternpost_storage::StateMachine;

/// Leaves this member alone in its cluster. A log without entries is left as
/// it is: there is no cluster yet to leave.
pub(crate) fn alone(
    log: &LogStore,
    recovered: &Recovered,
    machine: &StateMachine,
) -> Result<(), OpenError> {
    let failed = |error: io::Error| OpenError::Log(format!("can't force a new cluster: {error}"));
    let applied = machine.applied().map(|mark| log_id(mark.term, mark.index));
    // The state may be ahead of what was recovered: then the log goes on behind it.
    let Some(last) = recovered.last.max(applied) else {
        return Ok(());
    };
    let stored = machine.membership().map(internal::StoredMembership::decode);
    let stored = stored
        .transpose()
        .map_err(|error| failed(error.into()))?
        .map(codec::stored_membership_from_message)
        .transpose()
        .map_err(failed)?;
    let voted_term = recovered.vote.map_or(0, |vote| vote.leader_id.term);
    let rewrite = Rewrite {
        log: log.clone(),
        member: recovered.identity.member_id,
        next: log.range().end,
        unapplied_from: applied.map_or(0, |applied| applied.index + 1),
        membership: stored.unwrap_or_default(),
        term: last.leader_id.term.max(voted_term),
    };
    // A thread of its own, because the caller's may belong to a runtime.
    let rewriting = std::thread::spawn(move || -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(rewrite.run())
    });
    let rewritten = rewriting.join();
    rewritten
        .unwrap_or_else(|_| {
            Err(io::Error::other(
                "the thread that rewrites the log panicked",
            ))
        })
        .map_err(failed)
}

struct Rewrite {
    log: LogStore,
    member: u64,
    /// Where the log ends.
    next: u64,
    unapplied_from: u64,
    /// What was in force at the last applied entry.
    membership: StoredMembership,
    term: u64,
}

impl Rewrite {
    async fn run(mut self) -> io::Result<()> {
        let node = self.own_node().await?;
        let alone = Membership::new(
            vec![BTreeSet::from([self.member])],
            BTreeMap::from([(self.member, node)]),
        );
        let entry = Entry {
            log_id: log_id(self.term, self.next),
            payload: EntryPayload::Membership(alone.map_err(io::Error::other)?),
        };
        tracing::warn!(
            member = format!("{:x}", self.member),
            index = self.next,
            "forcing a new cluster: this member goes on alone"
        );
        self.log.append([entry], IOFlushed::noop()).await?;
        let mut durable = self.log.durable();
        durable
            .wait(self.next)
            .await
            .map_err(|_| io::Error::other("the log has stopped"))
    }

    /// This member as the last membership that has it says.
    async fn own_node(&mut self) -> io::Result<Node> {
        let mut node = self.membership.membership().get_node(&self.member).cloned();
        let mut index = self.unapplied_from;
        while index < self.next {
            let entries = self.log.limited_get_log_entries(index, self.next).await?;
            for entry in &entries {
                if let EntryPayload::Membership(membership) = &entry.payload {
                    node = membership.get_node(&self.member).cloned().or(node);
                }
            }
            let Some(last) = entries.last() else { break };
            index = last.log_id.index + 1;
        }
        Ok(node.unwrap_or_default())
    }
}
