//! The stream of commands to one leader in one term.

use crate::{
    forward::Pending,
    network::Peers,
    peer::{Incoming, Purpose},
    types::{Data, TypeConfig},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use openraft::{
    async_runtime::watch::WatchReceiver as _, metrics::RaftServerMetrics,
    type_config::alias::WatchReceiverOf,
};
use std::collections::VecDeque;
use sternpost_proto::internal::{ForwardedProposal, ForwardedProposals, ForwardedRefusals};
use sternpost_storage::failpoint;
use tokio::sync::mpsc::{self, OwnedPermit};

/// Messages that may wait for the wire.
const OUTBOX_MAX: usize = 16;

/// Commands in one message.
const COMMANDS_MAX: usize = 1024;

/// Bytes in one message, but for a single longer command.
const BYTES_MAX: usize = 1 << 20;

/// A stream to a leader, or on the way there.
pub(super) struct Session {
    leader: u64,
    term: u64,
    outbox: Outbox,
    refusals: Refusals,
}

impl Session {
    /// Whether this is a session with that leader in that term.
    pub(super) fn is(session: &Option<Self>, leader: u64, term: u64) -> bool {
        session
            .as_ref()
            .is_some_and(|session| (session.leader, session.term) == (leader, term))
    }

    pub(super) fn term(&self) -> u64 {
        self.term
    }

    /// Opens a session; `None` if the leader is no member as far as is known here.
    pub(super) fn open(
        peers: &Peers,
        metrics: &WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>,
        leader: u64,
        term: u64,
    ) -> Option<Self> {
        let urls = {
            let metrics = metrics.borrow_watched();
            let node = metrics.membership_config.membership().get_node(&leader)?;
            node.peer_urls.clone()
        };
        let channel = peers.channel(leader, &urls, Purpose::Proposals);
        let (outbox, outgoing) = mpsc::channel(OUTBOX_MAX);
        let outgoing = stream::unfold(outgoing, |mut outgoing| async move {
            let message = outgoing.recv().await?;
            Some((message, outgoing))
        });
        let opening = async move { channel.propose(Box::pin(outgoing)).await };
        Some(Self {
            leader,
            term,
            outbox,
            refusals: Box::pin(stream::once(opening).try_flatten()),
        })
    }
}

type Refusals = Incoming<'static, ForwardedRefusals>;
type Outbox = mpsc::Sender<ForwardedProposals>;

/// The two sides of a session, if there is one, to wait on at the same time.
pub(super) fn sides(session: &mut Option<Session>) -> (Option<&mut Refusals>, Option<&Outbox>) {
    match session {
        Some(session) => (Some(&mut session.refusals), Some(&session.outbox)),
        None => (None, None),
    }
}

/// What the leader says next; `None` once the stream is gone. Never returns
/// without a session.
pub(super) async fn said(refusals: Option<&mut Refusals>) -> Option<ForwardedRefusals> {
    let Some(refusals) = refusals else {
        return std::future::pending().await;
    };
    match refusals.next().await {
        Some(Ok(refusals)) => Some(refusals),
        Some(Err(error)) => {
            tracing::info!("the stream of commands to the leader ended: {error}");
            None
        }
        None => None,
    }
}

/// Waits for room for one message. Never returns without a session, nor once
/// its stream is gone: `said` says that.
pub(super) async fn room(outbox: Option<&Outbox>) -> OwnedPermit<ForwardedProposals> {
    if let Some(outbox) = outbox
        && let Ok(room) = outbox.clone().reserve_owned().await
    {
        return room;
    }
    std::future::pending().await
}

/// Sends what fits into one message to the leader of `term`; returns what
/// can't be sent.
pub(super) fn send(
    room: OwnedPermit<ForwardedProposals>,
    term: u64,
    ready: &mut VecDeque<Data>,
    pending: &Pending,
) -> Vec<Data> {
    let (mut proposals, mut bytes, mut refused) = (Vec::new(), 0, Vec::new());
    while let Some(data) = ready.front() {
        let length = data.encoded().len();
        let full = proposals.len() >= COMMANDS_MAX || bytes + length > BYTES_MAX;
        if full && !proposals.is_empty() {
            break;
        }
        let Some(data) = ready.pop_front() else { break };
        match pending.enter(&data, term) {
            Some(id) => {
                bytes += length;
                proposals.push(ForwardedProposal {
                    id,
                    command: pending.fenced(&data, term),
                });
            }
            None => refused.push(data),
        }
    }
    if !proposals.is_empty() {
        failpoint!("raftBeforeForwardPropose");
        room.send(ForwardedProposals { term, proposals });
    }
    refused
}
