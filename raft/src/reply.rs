//! The way back from an applied entry to the request that waits for it.

use crate::error::ProposeError;
use sternpost_storage::Applied;
use tokio::sync::oneshot;

/// Where to send the outcome of a proposal made on this member. Local only:
/// it is never encoded.
#[derive(Debug)]
pub struct Reply {
    /// The thread that waits: answers go back to it in batches.
    pub thread: usize,
    /// Completed on that thread.
    pub sender: oneshot::Sender<Result<Applied, ProposeError>>,
}
