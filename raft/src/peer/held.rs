//! Answers to the leader that wait for the next one.
//!
//! A put of one client is two requests to each follower: the entry, and soon
//! after that it is committed. The second one's answer tells the leader nothing
//! that it waits for, but costs a packet here and a wake-up there. Sent with the
//! answer to the next entry it costs neither.

use crate::peer::{Incoming, PeerError};
use futures_util::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use std::{collections::VecDeque, pin::Pin, sync::Arc};
use sternpost_proto::internal as pb;
use tokio::sync::Notify;

/// For each request of a stream that is not answered: may its answer wait? As
/// many as openraft takes ahead of its answers.
#[derive(Clone, Default)]
pub(super) struct MayWait(Arc<Mutex<VecDeque<bool>>>);

impl MayWait {
    /// One more request.
    pub(super) fn push(&self, may_wait: bool) {
        self.0.lock().push_back(may_wait);
    }

    /// The first of them is answered.
    fn pop(&self) -> bool {
        self.0.lock().pop_front().unwrap_or(false)
    }
}

/// The same answers; those that may wait are ready when the next one is, when
/// there is none, or at the next heartbeat. Not after a time of their own: to
/// set a timer that ends before all others costs a system call and a wake-up,
/// as much as is saved.
pub(super) fn with_the_next(
    answers: impl Stream<Item = Result<pb::AppendResponse, PeerError>> + Send + 'static,
    may_wait: MayWait,
    heartbeat: Arc<Notify>,
) -> Incoming<'static, pb::AppendResponse> {
    let answers = Box::pin(answers).peekable();
    Box::pin(stream::unfold(
        (answers, may_wait, heartbeat),
        |(mut answers, may_wait, heartbeat)| async move {
            let answer = answers.next().await?;
            if may_wait.pop() {
                let next = Pin::new(&mut answers).peek();
                tokio::select! {
                    biased;
                    _next = next => {}
                    () = heartbeat.notified() => {}
                }
            }
            Some((answer, (answers, may_wait, heartbeat)))
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use tokio::sync::mpsc;

    type Sender = mpsc::UnboundedSender<Result<pb::AppendResponse, PeerError>>;

    fn held(
        flags: &[bool],
        heartbeat: &Arc<Notify>,
    ) -> (Sender, Incoming<'static, pb::AppendResponse>) {
        let may_wait = MayWait::default();
        for flag in flags {
            may_wait.push(*flag);
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let answers = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
        (sender, with_the_next(answers, may_wait, heartbeat.clone()))
    }

    fn matched(index: u64) -> pb::AppendResponse {
        let log_id = Some(pb::LogId { term: 1, index });
        pb::AppendResponse {
            outcome: Some(pb::append_response::Outcome::Matched(pb::Matched {
                log_id,
            })),
        }
    }

    #[tokio::test]
    async fn an_answer_that_may_wait_goes_with_the_next() {
        let (sender, mut answers) = held(&[true, false], &Arc::default());
        sender.send(Ok(matched(1))).expect("it is received");
        assert!(answers.next().now_or_never().is_none());
        sender.send(Ok(matched(2))).expect("it is received");
        let first = answers.next().now_or_never();
        assert_eq!(first, Some(Some(Ok(matched(1)))));
        let second = answers.next().now_or_never();
        assert_eq!(second, Some(Some(Ok(matched(2)))));
    }

    #[tokio::test]
    async fn an_answer_does_not_wait_longer_than_to_the_next_heartbeat() {
        let heartbeat = Arc::default();
        let (sender, mut answers) = held(&[true], &heartbeat);
        sender.send(Ok(matched(1))).expect("it is received");
        assert!(answers.next().now_or_never().is_none());
        let mut answer = std::pin::pin!(answers.next());
        assert!(answer.as_mut().now_or_never().is_none());
        heartbeat.notify_waiters();
        assert_eq!(answer.now_or_never(), Some(Some(Ok(matched(1)))));
    }

    #[tokio::test]
    async fn what_must_not_wait_or_comes_last_goes_at_once() {
        let (sender, mut answers) = held(&[false, true], &Arc::default());
        sender.send(Ok(matched(1))).expect("it is received");
        assert!(answers.next().now_or_never().is_some());
        sender
            .send(Err(PeerError::TimedOut))
            .expect("it is received");
        drop(sender);
        let last = answers.next().now_or_never();
        assert_eq!(last, Some(Some(Err(PeerError::TimedOut))));
        assert_eq!(answers.next().now_or_never(), Some(None));
    }
}
