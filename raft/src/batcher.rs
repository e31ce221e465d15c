//! Takes proposals from the lanes and gives them to openraft, many at once.
//!
//! Answers do not come back this way: they are sent when the entry is
//! applied. Here only errors are answered, so that no proposal waits forever.
//! What this member may not append goes to the forwarder.

use crate::{
    error::ProposeError,
    flow::Flow,
    lanes::refuse,
    runtime::stopped,
    state_machine::Raft,
    types::{Data, TypeConfig},
};
use futures_util::{
    StreamExt as _,
    stream::{BoxStream, FuturesUnordered},
};
use openraft::{
    errors::{ClientWriteError, Fatal},
    raft::WriteResult,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};

/// Batches joined into one append. More would only make the first of them wait.
const JOINED_MAX: usize = 64;

/// Bytes joined into one append, about what one write of the log should carry.
const JOINED_BYTES_MAX: usize = 4 << 20;

/// The pause before each append while the storage engine asks for fewer
/// writes: proposals slow down before they are in the log, where apply would
/// have to take them whatever it costs.
const STALL_PAUSE: Duration = Duration::from_millis(10);

/// How long proposals in flight may still get their answers on shutdown. A
/// sole member needs milliseconds; one without a quorum would wait forever.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Results of one submission, in order.
type Results = BoxStream<'static, Result<WriteResult<TypeConfig>, Fatal<TypeConfig>>>;

/// The task on the raft thread.
pub(crate) struct Batcher {
    pub(crate) raft: Raft,
    pub(crate) flow: Arc<Flow>,
    pub(crate) proposals: mpsc::Receiver<Vec<Data>>,
    /// Takes what this member can't put into its own log.
    pub(crate) forward: mpsc::Sender<Vec<Data>>,
    /// Turns true once no proposal is taken any more.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Batcher {
    /// Runs until stopped; then refuses what has not been submitted, and gives
    /// what has been a while to finish.
    pub(crate) async fn run(mut self) {
        let mut pending = FuturesUnordered::new();
        let mut batches = Vec::with_capacity(JOINED_MAX);
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => break,
                Some(()) = pending.next(), if !pending.is_empty() => {}
                received = self.proposals.recv_many(&mut batches, JOINED_MAX) => {
                    if received == 0 {
                        break;
                    }
                    if self.flow.follows() {
                        batches.drain(..).for_each(|batch| forward(&self.forward, &self.flow, batch));
                    }
                    for batch in join(batches.drain(..)) {
                        if let Some(written) = self.submit(batch).await {
                            pending.push(written);
                        }
                    }
                }
            }
        }
        self.proposals.close();
        while let Some(batch) = self.proposals.recv().await {
            refuse(&self.flow, batch, ProposeError::Stopped);
        }
        // What is left in `pending` after the wait ends as unknown when dropped.
        let _ = tokio::time::timeout(DRAIN_MAX, async { while pending.next().await.is_some() {} })
            .await;
    }

    /// Gives a batch to openraft; what is returned waits for its errors.
    async fn submit(&self, batch: Vec<Data>) -> Option<impl Future<Output = ()> + use<>> {
        if self.flow.is_stalled() {
            tokio::time::sleep(STALL_PAUSE).await;
        }
        let pending = Pending {
            flow: self.flow.clone(),
            forward: self.forward.clone(),
            proposals: batch.clone().into_iter(),
        };
        match self.raft.client_write_many(batch).await {
            Ok(results) => Some(pending.watch(results)),
            Err(_) => {
                pending.refuse(ProposeError::Stopped);
                None
            }
        }
    }
}

/// Joins batches, up to the limit of bytes.
fn join(batches: impl Iterator<Item = Vec<Data>>) -> Vec<Vec<Data>> {
    let mut joined: Vec<Vec<Data>> = Vec::new();
    let mut bytes = 0;
    for mut batch in batches {
        let more: usize = batch.iter().map(|proposal| proposal.encoded().len()).sum();
        match joined.last_mut() {
            Some(last) if bytes + more <= JOINED_BYTES_MAX => {
                bytes += more;
                last.append(&mut batch);
            }
            _ => {
                bytes = more;
                joined.push(batch);
            }
        }
    }
    joined
}

/// Proposals given to openraft whose results are still to come.
struct Pending {
    flow: Arc<Flow>,
    forward: mpsc::Sender<Vec<Data>>,
    proposals: std::vec::IntoIter<Data>,
}

impl Pending {
    async fn watch(mut self, mut results: Results) {
        while let Some(Ok(result)) = results.next().await {
            let Some(proposal) = self.proposals.next() else {
                break;
            };
            match result {
                Ok(_) => {}
                // It is not in the log: another member may lead, or this one later.
                Err(ClientWriteError::ForwardToLeader(_)) => {
                    forward(&self.forward, &self.flow, vec![proposal]);
                }
                // It was in the log of a leader that is no more: another may commit it.
                Err(_) => refuse(&self.flow, [proposal], ProposeError::OutcomeUnknown),
            }
        }
    }

    fn refuse(mut self, error: ProposeError) {
        refuse(&self.flow, &mut self.proposals, error);
    }
}

/// Without a result nobody knows what became of the rest.
impl Drop for Pending {
    fn drop(&mut self) {
        refuse(
            &self.flow,
            &mut self.proposals,
            ProposeError::OutcomeUnknown,
        );
    }
}

/// Hands a batch to the forwarder, whose queue is bounded.
fn forward(to: &mpsc::Sender<Vec<Data>>, flow: &Flow, batch: Vec<Data>) {
    match to.try_send(batch) {
        Ok(()) => {}
        Err(mpsc::error::TrySendError::Full(batch)) => {
            refuse(flow, batch, ProposeError::Overloaded);
        }
        Err(mpsc::error::TrySendError::Closed(batch)) => {
            refuse(flow, batch, ProposeError::Stopped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(sizes: &[usize]) -> Vec<Data> {
        sizes
            .iter()
            .map(|size| Data::from_encoded(vec![0; *size].into()))
            .collect()
    }

    #[test]
    fn batches_are_joined_in_order_up_to_the_limit_of_bytes() {
        let half = JOINED_BYTES_MAX / 2;
        let batches = [
            batch(&[half, 1]),
            batch(&[half - 1]),
            batch(&[1, 1]),
            batch(&[JOINED_BYTES_MAX * 2]),
            batch(&[1]),
        ];
        let joined: Vec<Vec<usize>> = join(batches.into_iter())
            .iter()
            .map(|batch| batch.iter().map(|data| data.encoded().len()).collect())
            .collect();
        assert_eq!(
            joined,
            [
                vec![half, 1, half - 1],
                vec![1, 1],
                vec![JOINED_BYTES_MAX * 2],
                vec![1]
            ]
        );
    }
}
