//! The leader's side of a follower's commands: what is accepted goes into the
//! log as it came, what is not is said.

use crate::{
    flow::Flow,
    peer::{Incoming, PeerError, endpoint::EndpointParts},
    types::Data,
};
use futures_util::{
    StreamExt as _,
    stream::{self, FuturesUnordered},
};
use openraft::errors::ClientWriteError;
use std::{future::Future, pin::Pin, sync::Arc};
use sternpost_proto::internal::{
    ForwardedProposal, ForwardedProposals, ForwardedReason, ForwardedRefusal, ForwardedRefusals,
};

/// Batches of one follower that may wait for their results. Above it no more
/// are taken from the stream, and the follower keeps them.
const BATCHES_MAX: usize = 256;

type Settling = Pin<Box<dyn Future<Output = Vec<ForwardedRefusal>> + Send>>;

/// One follower's stream of commands.
pub(super) struct Proposals {
    parts: Arc<EndpointParts>,
    incoming: Option<Incoming<'static, ForwardedProposals>>,
    settling: FuturesUnordered<Settling>,
}

impl Proposals {
    pub(super) fn new(
        parts: Arc<EndpointParts>,
        incoming: Incoming<'static, ForwardedProposals>,
    ) -> Self {
        Self {
            parts,
            incoming: Some(incoming),
            settling: FuturesUnordered::new(),
        }
    }

    /// The refusals. Ends after the follower's stream, once all is settled.
    pub(super) fn answers(self) -> Incoming<'static, ForwardedRefusals> {
        Box::pin(stream::unfold(self, |mut proposals| async move {
            let answer = proposals.next().await?;
            Some((answer, proposals))
        }))
    }

    async fn next(&mut self) -> Option<Result<ForwardedRefusals, PeerError>> {
        loop {
            let is_open = self.incoming.is_some();
            let may_take = self.settling.len() < BATCHES_MAX;
            let incoming = async {
                match &mut self.incoming {
                    Some(incoming) if may_take => incoming.next().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(refusals) = self.settling.next(), if !self.settling.is_empty() => {
                    if !refusals.is_empty() {
                        return Some(Ok(ForwardedRefusals { refusals }));
                    }
                }
                batch = incoming, if is_open => match batch {
                    Some(Ok(batch)) => {
                        let settling = propose(self.parts.clone(), batch);
                        self.settling.push(Box::pin(settling));
                    }
                    Some(Err(_)) | None => self.incoming = None,
                },
                else => return None,
            }
        }
    }
}

/// A refusal of each.
fn all(proposals: impl Iterator<Item = u64>, reason: ForwardedReason) -> Vec<ForwardedRefusal> {
    let refusal = |id| ForwardedRefusal {
        id,
        reason: reason.into(),
    };
    proposals.map(refusal).collect()
}

/// Puts a batch into the log and waits for its results.
async fn propose(parts: Arc<EndpointParts>, batch: ForwardedProposals) -> Vec<ForwardedRefusal> {
    let ids = |batch: &ForwardedProposals| {
        let ids: Vec<u64> = batch.proposals.iter().map(|p| p.id).collect();
        ids.into_iter()
    };
    let leadership = *parts.leadership.borrow();
    if !leadership.leads || leadership.term != batch.term {
        return all(ids(&batch), ForwardedReason::NotLeader);
    }
    if parts.flow.admit().is_err() {
        return all(ids(&batch), ForwardedReason::Overloaded);
    }
    let (mut accepted, mut refusals) = (Vec::new(), Vec::new());
    for ForwardedProposal { id, command } in batch.proposals {
        match Data::forwarded(command, batch.term) {
            Some(data) => accepted.push((id, data)),
            None => refusals.extend(all([id].into_iter(), ForwardedReason::Invalid)),
        }
    }
    let (ids, commands): (Vec<u64>, Vec<Data>) = accepted.into_iter().unzip();
    let _in_flight = InFlight::new(&parts.flow, &commands);
    let mut ids = ids.into_iter();
    let Ok(mut results) = parts.raft.client_write_many(commands).await else {
        refusals.extend(all(ids, ForwardedReason::NotLeader));
        return refusals;
    };
    while let Some(Ok(result)) = results.next().await {
        let Some(id) = ids.next() else { break };
        // A discarded entry may still be committed: the follower will see.
        if let Err(ClientWriteError::ForwardToLeader(_)) = result {
            refusals.extend(all([id].into_iter(), ForwardedReason::NotLeader));
        }
    }
    refusals
}

/// Counts proposals as long as they are on their way.
struct InFlight {
    flow: Arc<Flow>,
    proposals: usize,
    bytes: usize,
}

impl InFlight {
    fn new(flow: &Arc<Flow>, commands: &[Data]) -> Self {
        let bytes = commands.iter().map(|data| data.encoded().len()).sum();
        flow.depart(commands.len(), bytes);
        Self {
            flow: flow.clone(),
            proposals: commands.len(),
            bytes,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.flow.arrive(self.proposals, self.bytes);
    }
}
