//! Linearizable reads: rounds of one read barrier for all reads that wait.
//!
//! One round is under way at a time. Whoever comes meanwhile joins the next:
//! a barrier that began before a read says nothing about writes that were
//! acknowledged since. The leader makes the barrier itself; the others ask it
//! how far they must have applied, and wait for that. A round that fails
//! because the leader is out of reach is repeated for as long as its reads
//! have patience.

use crate::{
    codec::log_id_from_message,
    error::ReadIndexError,
    lanes::{Handback, ReadGroup, Returns},
    network::Peers,
    node::Leadership,
    peer::{PeerChannel, Purpose},
    runtime::stopped,
    state_machine::Raft,
    types::{LogId, TypeConfig},
};
use openraft::{
    ReadPolicy,
    async_runtime::watch::WatchReceiver as _,
    errors::{LinearizableReadError, RaftError},
};
use std::{sync::Arc, time::Duration};
use sternpost_proto::internal::{ReadIndexRefusal, ReadIndexRequest};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

/// Groups that join one round; those beyond join the one after.
const JOINED_MAX: usize = 256;

/// A round for so many reads is followed by a rest in which more can gather:
/// each round is several messages, whoever it is for.
const CROWD: usize = 16;

/// That rest. Small beside what a read takes where so many wait.
const GATHER: Duration = Duration::from_millis(1);

/// The rest between rounds that fail.
const REST: Duration = Duration::from_millis(50);

/// How long the leader may take to confirm itself, before it is asked again.
const ROUND_MAX: Duration = Duration::from_millis(500);

/// The task on the raft thread.
pub(crate) struct ReadRounds {
    pub(crate) member: u64,
    pub(crate) raft: Raft,
    pub(crate) peers: Peers,
    pub(crate) leadership: watch::Receiver<Leadership>,
    /// How long a read waits at most.
    pub(crate) patience: Duration,
    pub(crate) returns: Arc<Returns>,
    pub(crate) groups: mpsc::Receiver<ReadGroup>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// The way to a leader.
struct Way {
    leader: u64,
    urls: Vec<String>,
    channel: Arc<dyn PeerChannel>,
}

impl ReadRounds {
    /// Runs until stopped; then refuses who still waits.
    pub(crate) async fn run(mut self) {
        let mut arrived = Vec::with_capacity(JOINED_MAX);
        let mut waiting: Vec<(Instant, ReadGroup)> = Vec::new();
        let mut way = None;
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                received = self.groups.recv_many(&mut arrived, JOINED_MAX) => {
                    if received == 0 {
                        break;
                    }
                }
                () = tokio::time::sleep(REST), if !waiting.is_empty() => {}
            }
            let now = Instant::now();
            waiting.extend(arrived.drain(..).map(|group| (now, group)));
            let outcome = tokio::select! {
                biased;
                () = stopped(&mut stop) => Err(ReadIndexError::Stopped),
                outcome = self.barrier(&mut way) => outcome,
            };
            let again = outcome == Err(ReadIndexError::TimedOut)
                || outcome == Err(ReadIndexError::LeaderChanged);
            let kept = if again {
                let now = Instant::now();
                let patient = |since: &Instant| now.duration_since(*since) < self.patience;
                waiting
                    .extract_if(.., |(since, _)| patient(since))
                    .collect()
            } else {
                Vec::new()
            };
            let done = std::mem::replace(&mut waiting, kept);
            let outcome = if again {
                Err(ReadIndexError::TimedOut)
            } else {
                outcome
            };
            let readers: usize = done.iter().map(|(_, group)| group.readers.len()).sum();
            self.answer(done.into_iter().map(|(_, group)| group), outcome);
            if readers >= CROWD {
                tokio::time::sleep(GATHER).await;
            }
        }
        self.answer(
            waiting.into_iter().map(|(_, group)| group),
            Err(ReadIndexError::Stopped),
        );
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

    /// Returns once all that was committed anywhere before the call is applied here.
    async fn barrier(&self, way: &mut Option<Way>) -> Result<(), ReadIndexError> {
        let leader = self.leadership.borrow().leader;
        let read = match leader {
            Some(leader) if leader != self.member => {
                let asking = self.ask(leader, way);
                let asked = timeout(ROUND_MAX, asking).await;
                asked.map_err(|_elapsed| ReadIndexError::TimedOut)??
            }
            Some(_) => read_position(&self.raft).await?,
            // Here the leader may be one that has lost its quorum.
            None => match read_position(&self.raft).await {
                Err(ReadIndexError::LeaderChanged) => return Err(ReadIndexError::NoLeader),
                read => read?,
            },
        };
        let Some(read) = read else { return Ok(()) };
        let mut applied = self.raft.watch_apply_progress();
        let applied = timeout(self.patience, applied.wait_until_ge(&Some(read))).await;
        match applied {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ReadIndexError::Stopped),
            Err(_elapsed) => Err(ReadIndexError::TimedOut),
        }
    }

    /// Asks the leader how far to apply.
    async fn ask(
        &self,
        leader: u64,
        way: &mut Option<Way>,
    ) -> Result<Option<LogId>, ReadIndexError> {
        let urls = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let node = metrics.membership_config.membership().get_node(&leader);
            node.map(|node| node.peer_urls.clone())
        };
        let urls = urls.ok_or(ReadIndexError::LeaderChanged)?;
        if way
            .as_ref()
            .is_none_or(|way| way.leader != leader || way.urls != urls)
        {
            *way = Some(Way {
                leader,
                channel: self.peers.channel(leader, &urls, Purpose::Control),
                urls,
            });
        }
        let Some(Way { channel, .. }) = way else {
            return Err(ReadIndexError::LeaderChanged);
        };
        let answer = channel.read_index(ReadIndexRequest {}).await;
        let answer = answer.map_err(|_unreachable| ReadIndexError::LeaderChanged)?;
        match answer.refusal() {
            ReadIndexRefusal::None => Ok(answer.read.as_ref().map(log_id_from_message)),
            ReadIndexRefusal::TimedOut => Err(ReadIndexError::TimedOut),
            ReadIndexRefusal::NotLeader | ReadIndexRefusal::Stopped => {
                Err(ReadIndexError::LeaderChanged)
            }
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
