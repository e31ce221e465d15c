//! Waiting for a condition, with a deadline and a message that says what was awaited.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long to leave a server alone between two looks at it.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks `look` until it answers; panics with `what` when `limit` has passed.
///
/// # Panics
/// When the condition does not come true in time.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::park_timeout(PAUSE);
    }
}

/// The same for a look that talks to a server.
///
/// # Panics
/// When the condition does not come true in time.
pub async fn until_async<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
