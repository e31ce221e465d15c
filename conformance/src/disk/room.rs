//! What a server does once a full disk has room again.

use crate::ledger::{Ledger, load};
use crate::target::Target;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The store looks for room every five seconds; this is for a machine that is very busy.
pub const RESUME_LIMIT: Duration = Duration::from_secs(120);

/// Puts are answered again. Where the storage engine does not take up its work, the process
/// ends by itself with this last line, and a start brings it back.
///
/// # Panics
/// When puts are still refused after [`RESUME_LIMIT`].
pub async fn come_back_or_end(target: &mut Target, ledger: &Arc<Ledger>) -> Option<String> {
    let until = Instant::now() + RESUME_LIMIT;
    let mut client = target.client().await;
    for tries in 0.. {
        let value = format!("room {tries}");
        let Err(status) = load::put(&mut client, ledger, &value).await else {
            return None;
        };
        if target.has_ended() {
            let (_, line) = target.wait_end();
            println!("{line}");
            target.restart();
            return Some(line);
        }
        assert!(Instant::now() < until, "still refused: {status}");
    }
    unreachable!("the time is over long before the tries are")
}
