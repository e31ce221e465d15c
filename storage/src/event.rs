//! Changes of keys, as they are born in apply and read back from history.

use crate::ids::Revision;
use bytes::Bytes;
use sternpost_proto::mvccpb;

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When: `main` is the revision clients see.
    pub revision: Revision,
    /// The key that changed.
    pub key: Bytes,
    /// What happened.
    pub change: Change,
    /// The version that this change replaced or deleted, if the key existed.
    /// Its value is read on demand ([`crate::ReadView::previous`]).
    pub previous: Option<Revision>,
}

/// A put or a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key was written.
    Put {
        /// The new value.
        value: Bytes,
        /// The revision that created the key.
        create_revision: i64,
        /// Writes since then, from 1.
        version: i64,
        /// The lease it is attached to, 0 for none.
        lease: i64,
    },
    /// The key was deleted.
    Delete,
}

impl Event {
    /// The key-value pair of etcd's event: a delete carries only key and
    /// mod_revision.
    pub fn key_value(&self) -> mvccpb::KeyValue {
        let mut kv = mvccpb::KeyValue {
            key: self.key.clone(),
            mod_revision: self.revision.main,
            ..Default::default()
        };
        if let Change::Put {
            value,
            create_revision,
            version,
            lease,
        } = &self.change
        {
            kv.value = value.clone();
            kv.create_revision = *create_revision;
            kv.version = *version;
            kv.lease = *lease;
        }
        kv
    }

    /// Whether the key was deleted.
    pub fn is_delete(&self) -> bool {
        matches!(self.change, Change::Delete)
    }

    /// Whether the key was created.
    pub fn is_create(&self) -> bool {
        matches!(self.change, Change::Put { version: 1, .. })
    }
}

/// All events of one revision, in operation order. Never split when served,
/// unless a watcher asked for fragments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionEvents {
    /// The revision.
    pub revision: i64,
    /// Its events, by `sub`.
    pub events: Vec<Event>,
}
