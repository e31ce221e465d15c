//! The one table of what may differ between two servers that behave alike.
//! Whatever is not in it must be equal.

use super::op::{Op, Reply};
use super::ties;
use sternpost_proto::etcdserverpb as pb;

/// One licence to differ.
pub struct Mask {
    /// The field.
    pub what: &'static str,
    /// Why two correct servers may differ in it.
    pub why: &'static str,
    apply: fn(&Op, &mut Reply),
}

/// All of them.
pub const MASKS: &[Mask] = &[
    Mask {
        what: "header.cluster_id, header.member_id: only zero or not",
        why: "hashes of the peer URLs, which hold a port of the test's run",
        apply: |_, reply| {
            for_each_header(reply, &mut |header| {
                header.cluster_id = header.cluster_id.min(1);
                header.member_id = header.member_id.min(1);
            });
        },
    },
    Mask {
        what: "header.raft_term: only zero or not",
        why: "counts elections; two raft libraries start counting differently",
        apply: |_, reply| {
            for_each_header(reply, &mut |header| {
                header.raft_term = header.raft_term.min(1);
            });
        },
    },
    Mask {
        what: "LeaseTimeToLive.TTL: only its sign",
        why: "remaining seconds by the server's clock",
        apply: |_, reply| {
            if let Reply::TimeToLive(reply) = reply {
                reply.ttl = reply.ttl.signum();
            }
        },
    },
    Mask {
        what: "LeaseTimeToLive.keys: order",
        why: "undefined: taken from a hash map by the reference",
        apply: |_, reply| {
            if let Reply::TimeToLive(reply) = reply {
                reply.keys.sort();
            }
        },
    },
    Mask {
        what: "LeaseLeases.leases: order",
        why: "by remaining time, so by the clock",
        apply: |_, reply| {
            if let Reply::Leases(reply) = reply {
                reply.leases.sort_by_key(|lease| lease.id);
            }
        },
    },
    Mask {
        what: "LeaseGrant.ID when the server chose it: only its sign",
        why: "made of member id, time and a counter",
        apply: |op, reply| {
            if let (Op::GrantAny(_), Reply::Grant(reply)) = (op, reply) {
                reply.id = reply.id.signum();
            }
        },
    },
    Mask {
        what: "Range sorted by other than KEY: order of equals, and which equals a limit keeps",
        why: "the reference's sort is not stable",
        apply: |op, reply| ties::level(op, reply),
    },
    Mask {
        what: "RangeStream: borders of chunks",
        why: "their size follows a heuristic; only the sum is promised",
        apply: |_, reply| {
            if let Reply::RangeStream(chunks) = reply {
                merge_chunks(chunks);
            }
        },
    },
    Mask {
        what: "Status: leader, sizes, raft position: only zero or not",
        why: "ids, files and log entries are each server's own",
        apply: |_, reply| {
            if let Reply::Status(status) = reply {
                status.leader = status.leader.min(1);
                status.db_size = status.db_size.signum();
                status.db_size_in_use = status.db_size_in_use.signum();
                status.raft_index = status.raft_index.min(1);
                status.raft_applied_index = status.raft_applied_index.min(1);
                status.raft_term = status.raft_term.min(1);
            }
        },
    },
    Mask {
        what: "Status.errors: runs of spaces",
        why: "Go's text form of a message varies them on purpose from build to build",
        apply: |_, reply| {
            if let Reply::Status(status) = reply {
                for text in &mut status.errors {
                    let words: Vec<&str> = text.split_whitespace().collect();
                    *text = words.join(" ");
                }
            }
        },
    },
    Mask {
        what: "MemberList: ID (only zero or not), URLs (only how many)",
        why: "hold a port of the test's run, or its hash",
        apply: |_, reply| {
            if let Reply::Members(list) = reply {
                for member in &mut list.members {
                    member.id = member.id.min(1);
                    member.peer_ur_ls.iter_mut().for_each(String::clear);
                    member.client_ur_ls.iter_mut().for_each(String::clear);
                }
            }
        },
    },
    Mask {
        what: "Hash.hash: only that there is one",
        why: "of the whole file, which every server lays out in its own way",
        apply: |_, reply| {
            if let Reply::Hash(reply) = reply {
                reply.hash = reply.hash.min(1);
            }
        },
    },
    Mask {
        what: "WatchResponse to a progress request: how many",
        why: "the reference drops a request while a watcher is behind, so it is asked again",
        apply: |op, reply| {
            if let (Op::WatchProgress(_), Reply::Watch(replies)) = (op, reply) {
                replies.truncate(1);
            }
        },
    },
];

/// Where masks beyond this table live: how events are batched into responses, and
/// the header revision of a batch (the event's own when live, the store's when
/// catching up), depend on timing; `watch` flattens them and checks what is promised.
pub fn apply(op: &Op, mut reply: Reply) -> Reply {
    for mask in MASKS {
        (mask.apply)(op, &mut reply);
    }
    reply
}

fn for_each_header(reply: &mut Reply, act: &mut dyn FnMut(&mut pb::ResponseHeader)) {
    match reply {
        Reply::Put(reply) => reply.header.iter_mut().for_each(act),
        Reply::Range(reply) => reply.header.iter_mut().for_each(act),
        Reply::RangeStream(chunks) => chunks
            .iter_mut()
            .filter_map(|chunk| chunk.range_response.as_mut()?.header.as_mut())
            .for_each(act),
        Reply::Delete(reply) => reply.header.iter_mut().for_each(act),
        Reply::Txn(reply) => for_each_txn_header(reply, act),
        Reply::Compact(reply) => reply.header.iter_mut().for_each(act),
        Reply::Grant(reply) => reply.header.iter_mut().for_each(act),
        Reply::Revoke(reply) => reply.header.iter_mut().for_each(act),
        Reply::TimeToLive(reply) => reply.header.iter_mut().for_each(act),
        Reply::Leases(reply) => reply.header.iter_mut().for_each(act),
        Reply::KeepAlive(replies) => replies
            .iter_mut()
            .filter_map(|reply| reply.header.as_mut())
            .for_each(act),
        Reply::HashKv(reply) => reply.header.iter_mut().for_each(act),
        Reply::Alarm(reply) => reply.header.iter_mut().for_each(act),
        Reply::Hash(reply) => reply.header.iter_mut().for_each(act),
        Reply::MoveLeader(reply) => reply.header.iter_mut().for_each(act),
        Reply::Downgrade(reply) => reply.header.iter_mut().for_each(act),
        Reply::AuthStatus(reply) => reply.header.iter_mut().for_each(act),
        Reply::Authenticate(reply) => reply.header.iter_mut().for_each(act),
        Reply::Status(reply) => reply.header.iter_mut().for_each(act),
        Reply::Defragment(reply) => reply.header.iter_mut().for_each(act),
        Reply::Members(reply) => reply.header.iter_mut().for_each(act),
        Reply::Watch(replies) => replies
            .iter_mut()
            .filter_map(|reply| reply.header.as_mut())
            .for_each(act),
        Reply::Settled(..) | Reply::Error(..) => {}
    }
}

/// Inner answers carry a revision only; that their ids are zero is compared too.
fn for_each_txn_header(txn: &mut pb::TxnResponse, act: &mut dyn FnMut(&mut pb::ResponseHeader)) {
    use pb::response_op::Response;
    txn.header.iter_mut().for_each(&mut *act);
    for response in txn
        .responses
        .iter_mut()
        .filter_map(|op| op.response.as_mut())
    {
        match response {
            Response::ResponseRange(reply) => reply.header.iter_mut().for_each(&mut *act),
            Response::ResponsePut(reply) => reply.header.iter_mut().for_each(&mut *act),
            Response::ResponseDeleteRange(reply) => reply.header.iter_mut().for_each(&mut *act),
            Response::ResponseTxn(reply) => for_each_txn_header(reply, &mut *act),
        }
    }
}

fn merge_chunks(chunks: &mut Vec<pb::RangeStreamResponse>) {
    let mut whole = pb::RangeResponse::default();
    for chunk in chunks.drain(..).filter_map(|chunk| chunk.range_response) {
        whole.kvs.extend(chunk.kvs);
        whole.count += chunk.count;
        whole.more |= chunk.more;
        whole.header = chunk.header.or(whole.header);
    }
    chunks.push(pb::RangeStreamResponse {
        range_response: Some(whole),
    });
}
