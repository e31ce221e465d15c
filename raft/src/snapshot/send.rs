//! The sender: offers this member's state to another and waits until it is
//! installed there.

use super::{Own, upload::Upload};
use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use std::{
    fmt,
    future::Future,
    io::{self, ErrorKind},
    time::Duration,
};
use sternpost_proto::internal::{self as pb, SnapshotUpload, snapshot_progress::Step};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// Pieces between the thread that reads them and the wire.
const PIECES_MAX: usize = 4;

/// How long the receiver may take to answer the call.
const OPENING_MAX: Duration = Duration::from_secs(5);

/// How long the receiver may be silent. It says so while it works.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long a receiver that has failed is left alone: each try costs a flush
/// and a copy.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Sends the state over the call that `exchange` makes. The receiver's vote
/// when it has installed it, or wants no more of it. The text says why it
/// failed; a later try goes on where this one ended.
pub(crate) async fn send<F, S, E>(
    own: Own,
    vote: pb::Vote,
    exchange: impl FnOnce(BoxStream<'static, SnapshotUpload>) -> F,
) -> Result<pb::Vote, String>
where
    F: Future<Output = Result<S, E>>,
    S: Stream<Item = Result<pb::SnapshotProgress, E>> + Unpin,
    E: fmt::Display,
{
    let (uploads, mut pieces) = mpsc::channel(PIECES_MAX);
    let outgoing = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
    let call = tokio::time::timeout(OPENING_MAX, exchange(outgoing.boxed())).await;
    let call = call.map_err(|_| "no answer in time".to_owned())?;
    let mut steps = call.map_err(|error| error.to_string())?;
    // Only for a receiver that is there is the state copied.
    let (have, having) = oneshot::channel();
    let upload = Upload {
        snapshots: own.snapshots.clone(),
        vote,
        uploads,
        have: having,
    };
    // It ends by itself once nobody takes its pieces.
    let mut upload = tokio::task::spawn_blocking(move || upload.run());
    let outcome = tokio::select! {
        biased;
        failure = failed(&mut upload) => Err(failure),
        outcome = follow(&mut steps, have) => outcome,
    };
    // The log is kept until here, and the upload ends.
    drop((own, steps));
    if outcome.is_err() {
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    outcome
}

/// Why the upload failed; never ends if it does not.
async fn failed(upload: &mut JoinHandle<io::Result<()>>) -> String {
    match upload.await {
        Ok(Ok(())) => std::future::pending().await,
        // The other side has ended it, and says why.
        Ok(Err(error)) if error.kind() == ErrorKind::BrokenPipe => std::future::pending().await,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}

async fn follow<S, E>(
    steps: &mut S,
    have: oneshot::Sender<Vec<pb::SnapshotPart>>,
) -> Result<pb::Vote, String>
where
    S: Stream<Item = Result<pb::SnapshotProgress, E>> + Unpin,
    E: fmt::Display,
{
    let mut have = Some(have);
    loop {
        let step = tokio::time::timeout(SILENCE_MAX, steps.next()).await;
        let step = match step {
            Ok(Some(step)) => step.map_err(|error| error.to_string())?,
            Ok(None) => return Err("the receiver has ended the transfer".into()),
            Err(_) => return Err("the receiver has fallen silent".into()),
        };
        match step.step {
            Some(Step::Have(parts)) => {
                let have = have.take().ok_or("the receiver has answered twice")?;
                // If the upload has ended, it says why.
                let _ = have.send(parts.parts);
            }
            Some(Step::Done(done)) => return done.vote.ok_or_else(|| "no vote came".into()),
            Some(Step::Working(_)) | None => {}
        }
    }
}
