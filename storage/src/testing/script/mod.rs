//! A small language to drive stores with: one statement a line, keys and
//! values bare or in quotes with `\x00` escapes, `#` for comments.
//!
//! ```text
//! put KEY VALUE [lease=N] [prev_kv] [ignore_value] [ignore_lease]
//! delete RANGE [prev_kv]
//! txn [COMPARE, ...] { STATEMENTS } { STATEMENTS }
//! compact N                      grant ID TTL       revoke ID [expired_in=TERM]
//! checkpoint ID=REMAINING ...    alarm raise|clear MEMBER KIND
//! members ID ... [learners ID ...]   attributes ID NAME URL ...
//! cluster_version VERSION        blank
//! chunk { STATEMENTS }           applies several entries as one chunk
//!
//! get RANGE [rev=N] [limit=N] [order=asc|desc] [sort=key|version|create|mod|value]
//!     [keys_only] [count_only] [min_mod=N] [max_mod=N] [min_create=N] [max_create=N]
//! stream CHUNK RANGE [options of get]
//! read [COMPARE, ...] { STATEMENTS } { STATEMENTS }
//! count RANGE     history FROM [max=N]   hash REVISION
//! leases          lease ID               alarms          info    cluster
//! verify                         prints all that can be read
//!
//! term N          of the entries that follow
//! scrub [ROWS]    one step of so many rows; without number until done
//! flush   reopen  replay
//! ```
//!
//! `RANGE` is `KEY`, `KEY..END` or `KEY..` (all keys from it); `COMPARE` is
//! `version|create|mod|value|lease RANGE =|!=|>|< OPERAND`. The operand may be
//! `unset`, and the sign `?` is a result that nobody knows.
//!
//! [`parse`] reads a script, [`print()`] writes one, [`run`] lets an
//! [`Engine`](super::Engine) carry it out and tells what came of it.

mod parse;
mod print;
mod render;
mod run;

pub use parse::{ParseError, parse};
pub use print::print;
pub use run::{Session, run};

use crate::apply::EntryPayload;
use bytes::Bytes;
use sternpost_proto::etcdserverpb as pb;

/// One statement of a script.
#[derive(Clone, Debug)]
pub enum Step {
    /// Entries to apply as one chunk.
    Apply(Vec<EntryPayload>),
    /// A range.
    Range(pb::RangeRequest),
    /// A range by cursor, so many keys at a time.
    Stream(usize, pb::RangeRequest),
    /// A read-only transaction.
    ReadTxn(pb::TxnRequest),
    /// The number of keys in a range.
    Count(Bytes, Bytes),
    /// Revisions from the first number on, at most the second.
    History(i64, usize),
    /// HashKV.
    Hash(i64),
    /// All leases.
    Leases,
    /// One lease with its keys.
    Lease(i64),
    /// Alarms.
    Alarms,
    /// Revisions, applied mark, number of keys.
    Info,
    /// Members and cluster version.
    Cluster,
    /// Everything that can be read.
    Verify,
    /// The term of the entries that follow.
    Term(u64),
    /// A scrub step of so many rows, or steps until done.
    Scrub(Option<usize>),
    /// Makes durable what was applied.
    Flush,
    /// Dies and starts again.
    Reopen,
    /// Applies the whole log again.
    Replay,
}
