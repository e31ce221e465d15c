//! Asks members that are listed in the flags who belongs to their cluster,
//! before there is a node here.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use std::time::Duration;
use sternpost_proto::internal::{MembersRequest, MembersResponse};
use sternpost_raft::peer::{Caller, GrpcTransport, Purpose, Route, Transport as _};

/// The answers of all that answer in time; they are asked at once.
pub fn all(urls: &[String], limit: Duration) -> Vec<MembersResponse> {
    ask(urls, limit, usize::MAX)
}

/// The first answer that names members.
pub fn first(urls: &[String], limit: Duration) -> Option<MembersResponse> {
    ask(urls, limit, 1).into_iter().next()
}

fn ask(urls: &[String], limit: Duration, wanted: usize) -> Vec<MembersResponse> {
    if urls.is_empty() {
        return Vec::new();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let asking = async {
        let mut answers: FuturesUnordered<_> = urls.iter().map(|url| one(url, limit)).collect();
        let mut known = Vec::new();
        while known.len() < wanted
            && let Some(answer) = answers.next().await
        {
            known.extend(answer);
        }
        known
    };
    // On a thread of its own: the caller's may belong to a runtime already.
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| match runtime {
            Ok(runtime) => runtime.block_on(asking),
            Err(_) => Vec::new(),
        });
        asked.join().unwrap_or_default()
    })
}

async fn one(url: &str, limit: Duration) -> Option<MembersResponse> {
    let channel = GrpcTransport::plain(limit).channel(Route {
        caller: Caller::new(0, 0, 0),
        urls: vec![url.to_owned()],
        purpose: Purpose::Control,
    });
    let answer = tokio::time::timeout(limit, channel.members(MembersRequest {})).await;
    match answer {
        Ok(Ok(cluster)) if !cluster.members.is_empty() => Some(cluster),
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::warn!(address = url, %error, "failed to get cluster response");
            None
        }
        Err(_elapsed) => {
            tracing::warn!(address = url, "no cluster response in time");
            None
        }
    }
}
