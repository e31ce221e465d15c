//! Answers to the leader that wait for the next one.
//!
//! A put of one client is two requests to each follower: the entry, and soon
//! after that it is committed. The second one's answer tells the leader nothing
//! that it waits for, but costs a packet here and a wake-up there. Sent with the
//! answer to the next entry it costs neither.

use crate::peer::{Incoming, PeerError};
use futures_util::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};
use sternpost_proto::internal as pb;

/// An answer waits no longer, so that a leader that hears nothing else still
/// knows within a fraction of a heartbeat.
const HELD_MAX: Duration = Duration::from_millis(5);

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
/// there is none, or after a while.
pub(super) fn with_the_next(
    answers: impl Stream<Item = Result<pb::AppendResponse, PeerError>> + Send + 'static,
    may_wait: MayWait,
) -> Incoming<'static, pb::AppendResponse> {
    let answers = Box::pin(answers).peekable();
    Box::pin(stream::unfold(
        (answers, may_wait),
        |(mut answers, may_wait)| async move {
            let answer = answers.next().await?;
            if may_wait.pop() {
                let next = Pin::new(&mut answers).peek();
                // Either way it goes now.
                let _next_or_elapsed = tokio::time::timeout(HELD_MAX, next).await;
            }
            Some((answer, (answers, may_wait)))
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use tokio::{sync::mpsc, time::Instant};

    type Sender = mpsc::UnboundedSender<Result<pb::AppendResponse, PeerError>>;

    fn held(flags: &[bool]) -> (Sender, Incoming<'static, pb::AppendResponse>) {
        let may_wait = MayWait::default();
        for flag in flags {
            may_wait.push(*flag);
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let answers = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
        (sender, with_the_next(answers, may_wait))
    }

    fn matched(index: u64) -> pb::AppendResponse {
        let log_id = Some(pb::LogId { term: 1, index });
        pb::AppendResponse {
            outcome: Some(pb::append_response::Outcome::Matched(pb::Matched {
                log_id,
            })),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_may_wait_goes_with_the_next() {
        let (sender, mut answers) = held(&[true, false]);
        sender.send(Ok(matched(1))).expect("it is received");
        assert!(answers.next().now_or_never().is_none());
        sender.send(Ok(matched(2))).expect("it is received");
        let first = answers.next().now_or_never();
        assert_eq!(first, Some(Some(Ok(matched(1)))));
        let second = answers.next().now_or_never();
        assert_eq!(second, Some(Some(Ok(matched(2)))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_does_not_wait_for_long() {
        let (sender, mut answers) = held(&[true]);
        let start = Instant::now();
        sender.send(Ok(matched(1))).expect("it is received");
        assert_eq!(answers.next().await, Some(Ok(matched(1))));
        assert!(start.elapsed() >= HELD_MAX && start.elapsed() < HELD_MAX * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_must_not_wait_or_comes_last_goes_at_once() {
        let (sender, mut answers) = held(&[false, true]);
        sender.send(Ok(matched(1))).expect("it is received");
        assert!(answers.next().now_or_never().is_some());
        let start = Instant::now();
        sender
            .send(Err(PeerError::TimedOut))
            .expect("it is received");
        drop(sender);
        assert_eq!(answers.next().await, Some(Err(PeerError::TimedOut)));
        assert_eq!(answers.next().await, None);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
