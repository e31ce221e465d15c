//! Everything a server tells of its data, piece by piece.

use crate::client::Client;
use std::collections::BTreeMap;
use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;
use sternpost_proto::mvccpb::Event;
use tonic::{Code, Status};

use pb::watch_request::RequestUnion;

/// What a client is told of data that can't be read.
const DAMAGED: &str = "etcdserver: stored data can't be read, see this member's log";
/// A watch of a few thousand events takes far less, also on a very busy machine.
const WATCH_LIMIT: Duration = Duration::from_secs(60);

/// Answers by the question, in a form that must never change.
pub type Answers = BTreeMap<String, Result<String, Status>>;

/// Reads everything: the newest keys, each old revision, the history, hashes, leases.
pub async fn read_all(client: &mut Client, revisions: &[i64], last: i64) -> Answers {
    let mut answers = Answers::new();
    for revision in revisions.iter().copied().chain([0]) {
        let request = pb::RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            revision,
            ..Default::default()
        };
        let reply = client.kv.range(request).await;
        let told = reply.map(|reply| {
            let reply = reply.into_inner();
            format!("{} {:?}", reply.count, reply.kvs)
        });
        answers.insert(format!("range at {revision}"), told);
    }
    for revision in revisions.iter().copied().chain([last]) {
        let request = pb::HashKvRequest { revision };
        let reply = client.maintenance.hash_kv(request).await;
        let told = reply.map(|reply| {
            let reply = reply.into_inner();
            format!("{} above {}", reply.hash, reply.compact_revision)
        });
        answers.insert(format!("hash at {revision}"), told);
    }
    let start = revisions.first().copied().unwrap_or(last);
    let told = match tokio::time::timeout(WATCH_LIMIT, history(client, start, last)).await {
        Ok(told) => told.map(|events| format!("{events:?}")),
        Err(_) => Err(Status::deadline_exceeded("a watch that tells nothing")),
    };
    answers.insert("history".to_owned(), told);
    answers.insert("leases".to_owned(), leases(client).await);
    answers
}

/// All events of these revisions.
async fn history(client: &mut Client, start: i64, last: i64) -> Result<Vec<Event>, Status> {
    let create = pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            start_revision: start,
            prev_kv: true,
            ..Default::default()
        })),
    };
    let requests = futures_util::StreamExt::chain(
        tokio_stream::iter([create]),
        futures_util::stream::pending(),
    );
    let mut replies = client.watch.watch(requests).await?.into_inner();
    let mut events: Vec<Event> = Vec::new();
    let revision = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
    while events.last().is_none_or(|event| revision(event) < last) {
        let reply = replies.message().await?;
        let reply = reply.ok_or_else(|| Status::unavailable("the stream ended"))?;
        if reply.canceled {
            return Err(Status::internal(reply.cancel_reason));
        }
        events.extend(reply.events);
    }
    events.retain(|event| revision(event) <= last);
    Ok(events)
}

async fn leases(client: &mut Client) -> Result<String, Status> {
    let list = client.lease.lease_leases(pb::LeaseLeasesRequest {}).await?;
    let mut told = Vec::new();
    for lease in list.into_inner().leases {
        let request = pb::LeaseTimeToLiveRequest {
            id: lease.id,
            keys: true,
        };
        let reply = client.lease.lease_time_to_live(request).await?.into_inner();
        told.push((lease.id, reply.granted_ttl, reply.keys));
    }
    Ok(format!("{told:?}"))
}

/// Compares with what is right: an answer is that, or an error in the words for damage,
/// or (if `ended`) no answer because the process has ended. How many were errors.
///
/// # Errors
/// The first answer that is neither.
pub fn compare(found: &Answers, right: &Answers, ended: bool) -> Result<usize, String> {
    let mut errors = 0;
    for (question, answer) in found {
        match (answer, &right[question]) {
            (Ok(told), Ok(right)) if told == right => {}
            (Ok(told), right) => {
                return Err(format!("{question}: told {}", difference(told, right)));
            }
            (Err(status), _) => {
                let gone = ended && matches!(status.code(), Code::Unavailable | Code::Unknown);
                if status.message() != DAMAGED && !gone {
                    return Err(format!("{question}: {status}"));
                }
                errors += 1;
            }
        }
    }
    Ok(errors)
}

/// Where two texts part.
fn difference(told: &str, right: &Result<String, Status>) -> String {
    let right = right.as_deref().unwrap_or("an error");
    let pairs = told.char_indices().zip(right.chars());
    let same = |pair: &((usize, char), char)| pair.0.1 == pair.1;
    let at = pairs.take_while(same).last().map_or(0, |(left, _)| left.0);
    let piece = |text: &str| {
        text.chars()
            .skip(at.saturating_sub(80))
            .take(200)
            .collect::<String>()
    };
    format!(
        "...{}... where ...{}... is right",
        piece(told),
        piece(right)
    )
}
