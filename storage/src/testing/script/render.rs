//! What came of a step, as text: one line an outcome, what belongs to it
//! indented below.

use super::print::quote;
use crate::{
    apply::{Applied, Response, StateChange},
    error::Rejection,
    event::{Change, Event, RevisionEvents},
    ids::LogMark,
    read::{HashKv, LeaseInfo},
    testing::engine::{Engine, Streamed, Summary},
};
use std::fmt::Write as _;
use sternpost_proto::{etcdserverpb as pb, mvccpb};

/// A text that grows by whole lines.
#[derive(Default)]
pub(super) struct Lines {
    text: String,
    depth: usize,
}

impl Lines {
    pub(super) fn line(&mut self, line: impl AsRef<str>) {
        let _ = writeln!(
            self.text,
            "{:indent$}{}",
            "",
            line.as_ref(),
            indent = self.depth * 2
        );
    }

    pub(super) fn indented(&mut self, lines: impl FnOnce(&mut Self)) {
        self.depth += 1;
        lines(self);
        self.depth -= 1;
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

pub(super) fn rejected(rejection: Rejection) -> String {
    format!("rejected: {rejection}")
}

pub(super) fn applied(lines: &mut Lines, applied: &Applied) {
    let revision = applied.revision;
    match &applied.response {
        Ok(response) => outcome(lines, revision, response),
        Err(rejection) => lines.line(format!("{revision}: {}", rejected(*rejection))),
    }
    lines.indented(|lines| {
        if let Some(revision_events) = &applied.events {
            assert_eq!(
                revision_events.revision, revision,
                "events of another revision than their entry's"
            );
            revision_events
                .events
                .iter()
                .for_each(|event| lines.line(event_text(event)));
        }
        applied
            .changes
            .iter()
            .for_each(|change| lines.line(change_text(change)));
    });
}

fn outcome(lines: &mut Lines, revision: i64, response: &Response) {
    match response {
        Response::Empty => lines.line(format!("{revision}: done")),
        Response::Put(response) => {
            headless(response.header.as_ref());
            put(lines, &format!("{revision}: "), response);
        }
        Response::DeleteRange(response) => {
            headless(response.header.as_ref());
            delete(lines, &format!("{revision}: "), response);
        }
        Response::Txn(response) => {
            headless(response.header.as_ref());
            txn(lines, &format!("{revision}: "), response);
        }
        Response::Compaction => lines.line(format!("{revision}: compaction marked")),
        Response::LeaseGrant => lines.line(format!("{revision}: lease granted")),
        Response::LeaseRevoke => lines.line(format!("{revision}: lease revoked")),
        Response::Alarm(alarms) => lines.line(format!("{revision}: alarm {}", alarms_text(alarms))),
    }
}

/// The outer header is the server's to fill.
fn headless(header: Option<&pb::ResponseHeader>) {
    assert_eq!(header, None, "an outer header");
}

fn put(lines: &mut Lines, prefix: &str, response: &pb::PutResponse) {
    lines.line(format!("{prefix}put"));
    lines.indented(|lines| {
        if let Some(previous) = &response.prev_kv {
            lines.line(format!("previous {}", key_value(previous)));
        }
    });
}

fn delete(lines: &mut Lines, prefix: &str, response: &pb::DeleteRangeResponse) {
    lines.line(format!("{prefix}deleted {}", response.deleted));
    lines.indented(|lines| {
        for previous in &response.prev_kvs {
            lines.line(format!("previous {}", key_value(previous)));
        }
    });
}

pub(super) fn txn(lines: &mut Lines, prefix: &str, response: &pb::TxnResponse) {
    use pb::response_op::Response;
    let verdict = if response.succeeded {
        "succeeded"
    } else {
        "failed"
    };
    lines.line(format!("{prefix}txn {verdict}"));
    lines.indented(|lines| {
        for operation in &response.responses {
            match &operation.response {
                Some(Response::ResponsePut(response)) => {
                    put(lines, &header(response.header.as_ref()), response)
                }
                Some(Response::ResponseDeleteRange(response)) => {
                    delete(lines, &header(response.header.as_ref()), response);
                }
                Some(Response::ResponseRange(response)) => {
                    range(lines, &header(response.header.as_ref()), response);
                }
                Some(Response::ResponseTxn(response)) => {
                    txn(lines, &header(response.header.as_ref()), response)
                }
                None => lines.line("nothing"),
            }
        }
    });
}

/// An inner header holds the revision alone; that of a nested transaction is
/// there, but empty.
fn header(header: Option<&pb::ResponseHeader>) -> String {
    let Some(header) = header else {
        return "no header! ".to_owned();
    };
    let revision = header.revision;
    let alone = pb::ResponseHeader {
        revision,
        ..Default::default()
    };
    assert_eq!(header, &alone, "more than the revision in an inner header");
    format!("{revision}: ")
}

pub(super) fn range(lines: &mut Lines, prefix: &str, response: &pb::RangeResponse) {
    let more = if response.more { ", more" } else { "" };
    lines.line(format!("{prefix}count {}{more}", response.count));
    lines.indented(|lines| response.kvs.iter().for_each(|kv| lines.line(key_value(kv))));
}

pub(super) fn streamed(lines: &mut Lines, streamed: &Streamed) {
    let Streamed { kvs, more, count } = streamed.clone();
    range(
        lines,
        "streamed ",
        &pb::RangeResponse {
            header: None,
            kvs,
            more,
            count,
        },
    );
}

pub(super) fn key_value(kv: &mvccpb::KeyValue) -> String {
    let lease = if kv.lease == 0 {
        String::new()
    } else {
        format!(" lease {}", kv.lease)
    };
    let pair = format!("{}={}", quote(&kv.key), quote(&kv.value));
    format!(
        "{pair} mod {} create {} version {}{lease}",
        kv.mod_revision, kv.create_revision, kv.version
    )
}

pub(super) fn event_text(event: &Event) -> String {
    let key = quote(&event.key);
    let was = event
        .previous
        .map_or(String::new(), |previous| format!(", was {previous}"));
    match &event.change {
        Change::Put {
            value,
            create_revision,
            version,
            lease,
        } => {
            let lease = if *lease == 0 {
                String::new()
            } else {
                format!(" lease {lease}")
            };
            let what = format!(
                "{key}={} create {create_revision} version {version}{lease}",
                quote(value)
            );
            format!("event {} put {what}{was}", event.revision)
        }
        Change::Delete => format!("event {} delete {key}{was}", event.revision),
    }
}

fn change_text(change: &StateChange) -> String {
    match change {
        StateChange::LeaseGranted(lease) => format!("change granted {}", lease_text(lease)),
        StateChange::LeaseRevoked(id) => format!("change revoked lease {}", id.0),
        StateChange::LeaseCheckpointed(lease) => {
            format!("change checkpointed {}", lease_text(lease))
        }
        StateChange::Alarms => "change alarms".to_owned(),
        StateChange::Members => "change members".to_owned(),
        StateChange::Compacted(revision) => format!("change compacted {revision}"),
    }
}

pub(super) fn lease_text(lease: &LeaseInfo) -> String {
    let remaining = if lease.remaining_secs == 0 {
        String::new()
    } else {
        format!(" remaining {}", lease.remaining_secs)
    };
    format!("lease {} ttl {}{remaining}", lease.id.0, lease.ttl_secs)
}

pub(super) fn alarms_text(alarms: &[pb::AlarmMember]) -> String {
    let text = |alarm: &pb::AlarmMember| {
        let kind = pb::AlarmType::try_from(alarm.alarm).map_or("?", |kind| kind.as_str_name());
        format!("{} {kind}", alarm.member_id)
    };
    let texts: Vec<String> = alarms.iter().map(text).collect();
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.join(", ")
    }
}

pub(super) fn history(lines: &mut Lines, engine: &impl Engine, history: &[RevisionEvents]) {
    for revision_events in history {
        for event in &revision_events.events {
            assert_eq!(
                event.revision.main, revision_events.revision,
                "an event in another revision's list"
            );
            lines.line(event_text(event));
            if let Some(previous) = engine.previous(event) {
                lines.indented(|lines| lines.line(format!("previous {}", key_value(&previous))));
            }
        }
    }
}

pub(super) fn hash(hash: &HashKv) -> String {
    let HashKv {
        hash,
        hash_revision,
        compact_revision,
        current_revision,
    } = hash;
    format!(
        "hash {hash} at {hash_revision} of {current_revision}, compact revision {compact_revision}"
    )
}

pub(super) fn summary(summary: &Summary) -> String {
    let Summary {
        revision,
        compact_revision,
        keys_total,
        applied,
    } = summary;
    let applied = applied.map_or("nothing".to_owned(), |mark: LogMark| mark.to_string());
    format!(
        "revision {revision}, compact revision {compact_revision}, keys {keys_total}, applied {applied}"
    )
}
