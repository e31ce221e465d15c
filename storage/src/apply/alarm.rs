//! Alarms: raised, cleared, and what they refuse.

use super::{Response, StateChange, txn::has_puts};
use crate::{
    cluster::ClusterState,
    error::Rejection,
    mvcc::{digest::Part, write_txn::WriteTxn},
    schema::meta,
};
use std::sync::Arc;
use sternpost_proto::{
    etcdserverpb::{self as pb, AlarmType},
    internal::{AlarmChange, command::Verb},
};

/// Refuses what an active alarm forbids. CORRUPT comes first, as in etcd.
pub(super) fn admit(cluster: &ClusterState, verb: &Verb) -> Result<(), Rejection> {
    if cluster.alarms.is_empty() {
        return Ok(());
    }
    let writes = matches!(
        verb,
        Verb::Put(_)
            | Verb::DeleteRange(_)
            | Verb::Txn(_)
            | Verb::Compaction(_)
            | Verb::LeaseGrant(_)
            | Verb::LeaseRevoke(_)
    );
    if writes && cluster.has_alarm(AlarmType::Corrupt) {
        return Err(Rejection::Corrupt);
    }
    let grows = match verb {
        Verb::Put(_) | Verb::LeaseGrant(_) => true,
        Verb::Txn(txn) => has_puts(txn),
        _ => false,
    };
    if grows && cluster.has_alarm(AlarmType::Nospace) {
        return Err(Rejection::NoSpace);
    }
    Ok(())
}

/// Raises or clears an alarm; answers with it, if there is one.
pub(super) fn change(txn: &mut WriteTxn<'_>, change: &AlarmChange) -> Response {
    let alarm = pb::AlarmMember {
        member_id: change.member_id,
        alarm: change.alarm,
    };
    if alarm.alarm == AlarmType::None as i32 {
        return Response::Alarm(Vec::new());
    }
    let alarms = &txn.writer().cluster.alarms;
    let place = alarms.binary_search_by_key(&(alarm.member_id, alarm.alarm), |alarm| {
        (alarm.member_id, alarm.alarm)
    });
    match (change.clear, place) {
        (false, Ok(_)) => return Response::Alarm(vec![alarm]),
        (true, Err(_)) => return Response::Alarm(Vec::new()),
        (false, Err(at)) => Arc::make_mut(&mut txn.writer().cluster.alarms).insert(at, alarm),
        (true, Ok(at)) => {
            Arc::make_mut(&mut txn.writer().cluster.alarms).remove(at);
        }
    }
    let key = meta::alarm(alarm.member_id, alarm.alarm);
    if change.clear {
        txn.writer().overlay.delete_meta(&key);
    } else {
        txn.writer().overlay.put_meta(&key, &[]);
    }
    txn.digest(Part::Alarm {
        member: alarm.member_id,
        kind: alarm.alarm,
        raised: !change.clear,
    });
    txn.changed(StateChange::Alarms);
    Response::Alarm(vec![alarm])
}
