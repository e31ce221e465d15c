//! openraft's way to other members, over whatever [`Transport`] there is.
//!
//! openraft cancels a call at its hard limit and would not know why, so each
//! call here ends before that. A stream that makes no progress ends as well.

use crate::{
    codec::{vote_from_message, vote_to_message},
    observer::{Observer, Way},
    options::Identity,
    peer::{
        Caller, Convert, PeerChannel, PeerError, Purpose, Route, Transport, transfer_from_message,
    },
    snapshot::{SnapshotData, send},
    types::{LogId, Node, TypeConfig, Vote},
};
use futures_util::{Stream, StreamExt as _, stream};
use openraft::{
    AnyError, OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{RPCOption, RPCTypes, stream_append_sequential},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
        StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
        VoteResponse,
    },
    type_config::alias::SnapshotOf,
};
use parking_lot::Mutex;
use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc, time::Duration};
use sternpost_proto::internal as pb;
use sternpost_storage::{ReadHandle, failpoint};

/// How long a peer may keep entries without an answer. A slow disk may take
/// seconds to sync them; a connection that is gone is noticed much earlier, by
/// its keepalive.
const UNANSWERED_MAX: Duration = Duration::from_secs(10);

/// The rest after a stream could not be opened.
const REOPEN_AFTER: Duration = Duration::from_millis(100);

/// How long a peer may take to open a stream.
const OPENING_MAX: Duration = Duration::from_secs(1);

type Failure = RPCError<TypeConfig>;
type Answers<'a> =
    Pin<Box<dyn Stream<Item = Result<StreamAppendResult<TypeConfig>, Failure>> + Send + 'a>>;

/// Makes a connection for each peer and purpose.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) identity: Identity,
    pub(crate) transport: Arc<dyn Transport>,
    /// Where members are now: openraft keeps a connection when they move.
    pub(crate) reads: ReadHandle,
    pub(crate) observer: Arc<dyn Observer>,
}

impl Peers {
    /// The way to a member that listens at these peer URLs.
    pub(crate) fn channel(
        &self,
        id: u64,
        urls: &[String],
        purpose: Purpose,
    ) -> Arc<dyn PeerChannel> {
        let Identity {
            member_id,
            cluster_id,
        } = self.identity;
        self.transport.channel(Route {
            caller: Caller::new(cluster_id, member_id, id),
            urls: urls.to_vec(),
            purpose,
        })
    }

    fn peer(&self, id: u64, node: &Node, purpose: Purpose) -> Peer {
        Peer {
            own: self.identity.member_id,
            id,
            purpose,
            channel: self.channel(id, &node.peer_urls, purpose),
            urls: node.peer_urls.clone(),
            peers: self.clone(),
            said: Mutex::default(),
            observer: self.observer.clone(),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, id: u64, node: &Node) -> Peer {
        self.peer(id, node, Purpose::Replication)
    }

    async fn new_heartbeat_client(&mut self, id: u64, node: &Node) -> Peer {
        self.peer(id, node, Purpose::Control)
    }

    async fn new_snapshot_client(&mut self, id: u64, node: &Node) -> Peer {
        self.peer(id, node, Purpose::Snapshot)
    }
}

/// One peer.
pub(crate) struct Peer {
    own: u64,
    id: u64,
    purpose: Purpose,
    channel: Arc<dyn PeerChannel>,
    /// What the channel was made for.
    urls: Vec<String>,
    peers: Peers,
    /// What was last said of it in the log; empty while it answers.
    said: Mutex<String>,
    observer: Arc<dyn Observer>,
}

impl Peer {
    /// Follows a member that is reached elsewhere now.
    fn follow(&mut self) {
        let view = self.peers.reads.view();
        let known = view.members().iter().find(|(id, _)| id.0 == self.id);
        if let Some((_, record)) = known
            && record.peer_urls != self.urls
        {
            self.urls.clone_from(&record.peer_urls);
            self.channel = self.peers.channel(self.id, &self.urls, self.purpose);
        }
    }

    /// The error as openraft knows it. Whoever can't be reached is not asked
    /// again at once; nor is one that refuses us.
    fn failure(&self, error: &PeerError) -> Failure {
        self.say(&error.to_string());
        let text = || AnyError::error(format!("member {:x}: {error}", self.id));
        match error {
            PeerError::Removed => {
                self.observer.removed();
                Unreachable::new(&text()).into()
            }
            PeerError::Unreachable(_) | PeerError::Refused(_) => Unreachable::new(&text()).into(),
            PeerError::Broken(_) | PeerError::TimedOut => NetworkError::new(&text()).into(),
        }
    }

    /// Waits for a call, not longer than `limit`.
    async fn within<T>(
        &self,
        limit: Duration,
        action: RPCTypes,
        call: impl Future<Output = Result<T, PeerError>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => {
                self.say("");
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.failure(&error)),
            Err(_elapsed) => {
                self.say("no answer in time");
                Err(Timeout {
                    action,
                    id: self.own,
                    target: self.id,
                    timeout: limit,
                }
                .into())
            }
        }
    }

    /// Logs what is new of this peer; an empty text says that it answers.
    fn say(&self, text: &str) {
        let mut said = self.said.lock();
        if *said == text {
            return;
        }
        let (member, purpose) = (format!("{:x}", self.id), self.purpose);
        if text.is_empty() {
            tracing::info!(member, ?purpose, "a member answers again");
        } else if text.contains("cluster ID mismatch") {
            tracing::error!(
                member,
                error = text,
                "a member belongs to another cluster: give all the same --initial-cluster and \
                 --initial-cluster-token, and start the wrong one with an empty data directory"
            );
        } else {
            tracing::warn!(member, ?purpose, error = text, "a member does not answer");
        }
        text.clone_into(&mut said);
    }

    fn read<M, T: Convert<M>>(&self, message: M) -> Result<T, Failure> {
        T::from_message(message)
            .map_err(|error| self.failure(&PeerError::Broken(error.to_string())))
    }

    async fn ask_vote(
        &self,
        request: &VoteRequest<TypeConfig>,
        pre_vote: bool,
        option: &RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        let message = pb::VoteRequest {
            pre_vote,
            ..request.to_message()
        };
        let call = self.channel.vote(message);
        let answer = self.within(option.soft_ttl(), RPCTypes::Vote, call).await?;
        self.read(answer)
    }

    /// Opens the stream; entries may follow each other without waiting.
    async fn open_stream<'s, S>(&'s self, input: S) -> Result<Answers<'s>, Failure>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let unanswered = Unanswered::default();
        let sent = unanswered.clone();
        let requests = input.map(move |request| {
            let answer_may_wait = sent.note(&request);
            failpoint!("raftBeforeLeaderSend");
            pb::AppendRequest {
                answer_may_wait,
                ..request.to_message()
            }
        });
        let call = self.channel.append(Box::pin(requests));
        let opened = self
            .within(OPENING_MAX, RPCTypes::AppendEntries, call)
            .await;
        if opened.is_err() {
            // openraft rests only before it asks for entries, and none were
            // asked for: it would try again at once.
            tokio::time::sleep(REOPEN_AFTER).await;
        }
        let incoming = opened?;
        let answers = Ordered {
            peer: self,
            incoming,
            unanswered,
        };
        Ok(Box::pin(stream::unfold(
            Some(answers),
            |answers| async move {
                let mut answers = answers?;
                let answer = answers.next().await?;
                // Nothing comes after what is not a match.
                let goes_on = matches!(&answer, Ok(Ok(_)));
                Some((answer, goes_on.then_some(answers)))
            },
        )))
    }
}

/// The requests of one stream that have no answer yet.
#[derive(Clone, Default)]
struct Unanswered(Arc<Mutex<Sent>>);

#[derive(Default)]
struct Sent {
    /// Up to where each goes.
    unanswered: VecDeque<Option<LogId>>,
    /// Some request of the stream was answered.
    answered: bool,
}

impl Unanswered {
    /// Whether the answer to this one may wait for the next one's: it is no
    /// question about the peer's log, and no commit depends on it.
    fn note(&self, request: &AppendEntriesRequest<TypeConfig>) -> bool {
        let last = request.entries.last().map(|entry| entry.log_id);
        let mut sent = self.0.lock();
        sent.unanswered.push_back(last.or(request.prev_log_id));
        let all_committed = last.is_none() && request.leader_commit >= request.prev_log_id;
        sent.answered && all_committed
    }

    /// The first of them is answered. Whether openraft must not hear of that
    /// yet: it takes what matches for an answer to every request that goes no
    /// further, also to one without entries that was sent later, and so for
    /// newer proof of who leads than it is. That request's own answer will say
    /// the same.
    fn answered(&self, answer: &StreamAppendResult<TypeConfig>) -> bool {
        let mut sent = self.0.lock();
        sent.answered = true;
        sent.unanswered.pop_front();
        match (answer, sent.unanswered.front()) {
            (Ok(matched), Some(next)) => next <= matched,
            _ => false,
        }
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unanswered.is_empty()
    }
}

/// The answers of one stream.
struct Ordered<'s> {
    peer: &'s Peer,
    incoming: crate::peer::Incoming<'static, pb::AppendResponse>,
    unanswered: Unanswered,
}

impl Ordered<'_> {
    async fn next(&mut self) -> Option<Result<StreamAppendResult<TypeConfig>, Failure>> {
        let mut waiting = false;
        loop {
            let answer = match tokio::time::timeout(UNANSWERED_MAX, self.incoming.next()).await {
                Ok(answer) => answer?,
                // Something was under way then, and nothing has come since.
                Err(_elapsed) if waiting => Err(PeerError::TimedOut),
                Err(_elapsed) => {
                    waiting = !self.unanswered.is_empty();
                    continue;
                }
            };
            let answer = match answer {
                Ok(message) => self.peer.read(message),
                Err(error) => Err(self.peer.failure(&error)),
            };
            if let Ok(answer) = &answer
                && self.unanswered.answered(answer)
            {
                waiting = false;
                continue;
            }
            return Some(answer);
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Failure> {
        self.follow();
        let last = request.entries.last().map(|entry| entry.log_id);
        let last = last.or(request.prev_log_id);
        failpoint!("raftBeforeLeaderSend");
        let call = self.channel.append_one(request.to_message());
        let answer = self
            .within(option.soft_ttl(), RPCTypes::AppendEntries, call)
            .await?;
        let result: StreamAppendResult<TypeConfig> = self.read(answer)?;
        Ok(match result {
            Ok(matched) if matched == last => AppendEntriesResponse::Success,
            Ok(matched) => AppendEntriesResponse::PartialSuccess(matched),
            Err(StreamAppendError::Conflict(_)) if request.prev_log_id.is_some() => {
                AppendEntriesResponse::Conflict
            }
            Err(StreamAppendError::Conflict(_)) => {
                let error = PeerError::Broken("a conflict before the first entry".into());
                return Err(self.failure(&error));
            }
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> Pin<Box<dyn Future<Output = Result<Answers<'s>, Failure>> + Send + 's>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        self.follow();
        match self.purpose {
            Purpose::Control => stream_append_sequential(self, input, option),
            _ => Box::pin(self.open_stream(input)),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        self.follow();
        self.ask_vote(&request, false, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        self.follow();
        self.ask_vote(&request, true, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        self.follow();
        // A member that can't take it is not asked again at once.
        let failed = |error: String| {
            let error = AnyError::error(format!("member {:x}: snapshot: {error}", self.id));
            Unreachable::new(&error)
        };
        let SnapshotData::Own(own) = snapshot.snapshot else {
            return Err(failed("it is another member's".into()).into());
        };
        let transit = own.snapshots.transit(Way::To(self.id));
        let call = |upload| self.channel.snapshot(upload);
        let sent = send::send(own, vote_to_message(&vote), call);
        let vote = tokio::select! {
            biased;
            closed = cancel => return Err(closed.into()),
            vote = sent => vote.map_err(failed)?,
        };
        transit.arrived();
        Ok(SnapshotResponse::new(vote_from_message(&vote)))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Failure> {
        self.follow();
        let call = self.channel.transfer_leader(request.to_message());
        let answer = self
            .within(option.soft_ttl(), RPCTypes::TransferLeader, call)
            .await?;
        Ok(transfer_from_message(&request, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Data, Entry, EntryPayload, log_id};

    fn request(after: u64, last: u64) -> AppendEntriesRequest<TypeConfig> {
        let entries = after + 1..=last;
        AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(log_id(1, after)),
            entries: entries
                .map(|index| Entry {
                    log_id: log_id(1, index),
                    payload: EntryPayload::Normal(Data::from_encoded(Default::default())),
                })
                .collect(),
            leader_commit: None,
        }
    }

    #[test]
    fn an_answer_does_not_speak_for_a_request_that_was_sent_later() {
        let unanswered = Unanswered::default();
        unanswered.note(&request(1, 3));
        // It says what is committed, and goes no further.
        unanswered.note(&request(3, 3));
        unanswered.note(&request(3, 4));
        assert!(unanswered.answered(&Ok(Some(log_id(1, 3)))));
        assert!(!unanswered.answered(&Ok(Some(log_id(1, 3)))));
        assert!(!unanswered.answered(&Ok(Some(log_id(1, 4)))));
        assert!(unanswered.is_empty());
    }

    #[test]
    fn an_answer_may_wait_if_no_commit_depends_on_it() {
        let unanswered = Unanswered::default();
        let committed = |last, after| AppendEntriesRequest {
            leader_commit: Some(log_id(1, after)),
            ..request(last, last)
        };
        // What the peer has is not known yet.
        assert!(!unanswered.note(&committed(3, 3)));
        unanswered.answered(&Ok(Some(log_id(1, 3))));
        assert!(unanswered.note(&committed(3, 3)));
        assert!(!unanswered.note(&committed(4, 3)));
        assert!(!unanswered.note(&request(4, 5)));
        assert!(unanswered.note(&committed(5, 5)));
    }
}
