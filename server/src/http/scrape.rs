//! `/metrics`: sets the gauges that mirror the node, then prints everything.

use super::reply;
use crate::{member::Member, metrics::CONTENT_TYPE};
use axum::{body::Body, extract::State};
use http::{HeaderValue, Response, StatusCode};
use std::sync::Arc;

/// Answers a scrape, whatever the method, as etcd does.
pub async fn metrics(State(member): State<Arc<Member>>) -> Response<Body> {
    mirror(&member);
    reply::with_type(
        StatusCode::OK,
        HeaderValue::from_static(CONTENT_TYPE),
        member.metrics.text(),
    )
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Sets what is read off the node.
fn mirror(member: &Member) {
    let (server, mvcc) = (&member.metrics.server, &member.metrics.mvcc);
    let status = member.node.status();
    let identity = member.node.identity();
    server
        .has_leader
        .set(i64::from(status.leadership.leader.is_some()));
    server.is_leader.set(i64::from(
        status.leadership.leader == Some(identity.member_id),
    ));
    server.is_learner.set(i64::from(status.is_learner));
    server
        .proposals_committed
        .set(signed(status.committed_index));
    server.proposals_applied.set(signed(status.applied_index));

    let view = member.node.reads().view();
    mvcc.current_revision.set(view.revision());
    mvcc.compact_revision.set(view.compact_revision());
    mvcc.keys_total.set(view.keys_total());
    server.cluster_version.reset();
    if let Some(version) = view.cluster_version() {
        let short = version.rsplit_once('.').map_or(version, |(short, _)| short);
        server.cluster_version.with_label_values(&[short]).set(1);
    }
    server.known_peers.reset();
    let local = format!("{:x}", identity.member_id);
    for (id, record) in view.members() {
        let remote = format!("{:x}", id.0);
        let peer = server
            .known_peers
            .with_label_values(&[local.as_str(), &remote]);
        peer.set(1);
        let (sent, received) = member.metrics.traffic.take(id.0, &record.peer_urls);
        if id.0 != identity.member_id {
            let peers = &member.metrics.peers;
            peers.sent_bytes.with_label_values(&[&remote]).inc_by(sent);
            let from = peers.received_bytes.with_label_values(&[&remote]);
            from.inc_by(received);
        }
    }
    let active = &member.metrics.peers.active;
    active.reset();
    for (id, near) in member.probes.active() {
        let remote = format!("{id:x}");
        let peer = active.with_label_values(&[local.as_str(), &remote]);
        peer.set(i64::from(near));
    }
    server.alarms.reset();
    for alarm in view.alarms() {
        let member_id = format!("{:x}", alarm.member_id);
        server
            .alarms
            .with_label_values(&[&member_id, alarm.alarm().as_str_name()])
            .set(1);
    }

    let sizes = member.node.reads().sizes();
    mvcc.db_total_size.set(signed(sizes.db_bytes));
    mvcc.db_total_size_in_use.set(signed(sizes.db_in_use_bytes));
    mvcc.db_open_read_transactions
        .set(signed(sizes.pinned_views));
    mvcc.current_copy_size.set(signed(sizes.current_copy_bytes));
    mvcc.disk_size.set(signed(sizes.disk_bytes));
}
