//! Watches: matching, delivery, progress.
//!
//! An applied change comes from the feed to the [`hub`] of each RPC thread;
//! [`delivery`] matches it once against the [`registry`] of watchers, encodes
//! it once per form ([`encode`]), and puts a reference to the bytes into the
//! queue of each [`session`] that has a watcher for it. A [`stream`] is the
//! async face of a session; `api/watch.rs` puts it on the wire.
//!
//! What must hold: every watcher sees every event of its keys from its start
//! revision on, once, in order, a revision whole. A watcher whose stream has no
//! room, or that starts in the past, is served from history until it lacks
//! nothing.
//! Neither apply nor the hub ever waits for a client.

pub mod delivery;
pub mod encode;
pub mod hub;
mod intervals;
pub mod registry;
pub mod session;
pub mod stream;
mod timing;

#[cfg(test)]
mod tests;
