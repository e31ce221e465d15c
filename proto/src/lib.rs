//! The etcd v3 wire contract, and Sternpost's own messages for the log, the
//! peers and the state machine.
//!
//! The code is generated from `proto/etcd` (names, numbers and types of etcd
//! 3.7.1) and `proto/internal` (ours). Keys and values are `bytes::Bytes`: a
//! decoded field is a slice of the buffer it was read from, so whoever keeps
//! one for long copies it first.
#![allow(missing_docs, clippy::all, clippy::unwrap_used)]

/// Keys, values and events.
pub mod mvccpb {
    include!(concat!(env!("OUT_DIR"), "/mvccpb.rs"));
}

/// Users, roles and permissions.
pub mod authpb {
    include!(concat!(env!("OUT_DIR"), "/authpb.rs"));
}

/// The etcd services and their messages.
pub mod etcdserverpb {
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}

/// Locks as a service.
pub mod v3lockpb {
    include!(concat!(env!("OUT_DIR"), "/v3lockpb.rs"));
}

/// Elections as a service.
pub mod v3electionpb {
    include!(concat!(env!("OUT_DIR"), "/v3electionpb.rs"));
}

mod sternpost {
    pub mod internal {
        include!(concat!(env!("OUT_DIR"), "/sternpost.internal.rs"));
    }
}

/// Our own messages: log entries, peers, records of the state machine.
pub use sternpost::internal;

/// All files above as an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
