//! The header of every answer: who answered, at which revision and term.

use crate::member::Member;
use sternpost_proto::etcdserverpb as pb;

impl Member {
    /// A header with this revision (0 where etcd leaves it out) and the term
    /// of now, not that of the entry.
    pub fn header(&self, revision: i64) -> pb::ResponseHeader {
        pb::ResponseHeader {
            cluster_id: self.identity.cluster_id,
            member_id: self.identity.member_id,
            revision,
            raft_term: self.node.term(),
        }
    }

    /// A header with the revision of the newest view.
    pub fn current_header(&self) -> pb::ResponseHeader {
        self.header(self.node.reads().view().revision())
    }
}
