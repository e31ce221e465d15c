//! Revisions larger than a message may be: the one case in which the borders of
//! watch responses are promised, and compared.

use crate::client::Client;
use bytes::Bytes;
use sternpost_proto::etcdserverpb as pb;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use pb::watch_request::RequestUnion;

/// All keys of a large revision, and nothing else.
const KEYS: (&[u8], &[u8]) = (b"large/", b"large0");

/// Puts `keys` values of `bytes`, deletes them in one revision, and returns what a
/// watcher with previous values got of that, response by response.
///
/// # Errors
/// When the server refuses any of it.
pub async fn revision(
    client: &mut Client,
    keys: usize,
    bytes: usize,
    fragment: bool,
) -> Result<Vec<pb::WatchResponse>, Status> {
    let mut responses = open(client, fragment).await?;
    let mut seen = vec![next(&mut responses).await?];
    let value = Bytes::from(vec![b'L'; bytes]);
    for number in 0..keys {
        let put = pb::PutRequest {
            key: Bytes::from(format!("large/{number:03}")),
            value: value.clone(),
            ..Default::default()
        };
        client.kv.put(put).await?;
        // One by one, so that the watcher never falls behind and is served alone.
        next(&mut responses).await?;
    }
    let delete = pb::DeleteRangeRequest {
        key: Bytes::from_static(KEYS.0),
        range_end: Bytes::from_static(KEYS.1),
        prev_kv: false,
    };
    client.kv.delete_range(delete).await?;
    loop {
        let response = next(&mut responses).await?;
        let goes_on = response.fragment;
        seen.push(response);
        if !goes_on {
            return Ok(seen);
        }
    }
}

async fn open(client: &mut Client, fragment: bool) -> Result<Streaming<pb::WatchResponse>, Status> {
    let create = pb::WatchCreateRequest {
        key: Bytes::from_static(KEYS.0),
        range_end: Bytes::from_static(KEYS.1),
        prev_kv: true,
        fragment,
        ..Default::default()
    };
    let create = pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    let requests = tokio_stream::once(create).chain(tokio_stream::pending());
    Ok(client.watch.watch(requests).await?.into_inner())
}

async fn next(responses: &mut Streaming<pb::WatchResponse>) -> Result<pb::WatchResponse, Status> {
    let response = responses.message().await?;
    response.ok_or_else(|| Status::unavailable("the watch stream ended"))
}
