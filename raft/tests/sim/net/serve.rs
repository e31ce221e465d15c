//! The answering side: hands what arrives to the member's endpoint, on the
//! member's own runtime.

use super::{Body, Content, Host, Method, Net, Packet, Said};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use prost::Message;
use sternpost_proto::internal as pb;
use sternpost_raft::peer::{Caller, Endpoint, Incoming, PeerError};
use tokio::sync::mpsc::UnboundedReceiver;

fn decode<A: Message + Default>(bytes: Bytes) -> Result<A, PeerError> {
    A::decode(bytes).map_err(|error| PeerError::Refused(error.to_string()))
}

fn encode<B: Message>(answer: Result<B, PeerError>) -> Body {
    answer.map(|answer| answer.encode_to_vec().into())
}

/// Answers a single call.
pub(super) fn answer(
    net: Net,
    host: &Host,
    caller: Caller,
    call: u64,
    method: Method,
    bytes: Bytes,
) {
    let endpoint = host.endpoint.clone();
    host.runtime.spawn(async move {
        let body = ask(&endpoint, &caller, method, bytes.clone()).await;
        if method == Method::Vote {
            net.with(|inner| voted(&caller, &bytes, &body, &mut inner.said));
        }
        let content = Content::Reply(body);
        net.with(|inner| {
            inner.send(Packet {
                caller,
                call,
                content,
            })
        });
    });
}

async fn ask(endpoint: &Endpoint, caller: &Caller, method: Method, bytes: Bytes) -> Body {
    match method {
        Method::AppendOne => encode(endpoint.append_one(caller, decode(bytes)?).await),
        Method::Vote => encode(endpoint.vote(caller, decode(bytes)?).await),
        Method::TransferLeader => encode(endpoint.transfer_leader(caller, decode(bytes)?).await),
        Method::ReadIndex => encode(endpoint.read_index(caller, decode(bytes)?).await),
        Method::Append | Method::Propose => Err(PeerError::Refused("a stream".into())),
    }
}

/// Answers a stream.
pub(super) fn stream(
    net: Net,
    host: &Host,
    caller: Caller,
    call: u64,
    method: Method,
    requests: UnboundedReceiver<Body>,
) {
    let endpoint = host.endpoint.clone();
    host.runtime.spawn(async move {
        let answers = match method {
            Method::Append => {
                let answers = endpoint.append(&caller, incoming(requests));
                answers.map(|answers| answers.map(encode).boxed())
            }
            _ => {
                let answers = endpoint.propose(&caller, incoming(requests));
                answers.map(|answers| answers.map(encode).boxed())
            }
        };
        let send = |content| {
            net.with(|inner| {
                inner.push(Packet {
                    caller,
                    call,
                    content,
                })
            })
        };
        match answers {
            Err(refusal) => send(Content::Accept(Err(refusal))),
            Ok(mut answers) => {
                send(Content::Accept(Ok(())));
                while let Some(body) = answers.next().await {
                    send(Content::Down(Some(body)));
                }
                send(Content::Down(None));
            }
        }
    });
}

fn incoming<A: Message + Default + 'static>(
    requests: UnboundedReceiver<Body>,
) -> Incoming<'static, A> {
    let requests = stream::unfold(requests, |mut requests| async move {
        let body = requests.recv().await?;
        Some((body.and_then(decode), requests))
    });
    requests.boxed()
}

/// What a message on its way says to the invariants.
pub(super) fn listen(caller: &Caller, content: &Content, said: &mut Vec<Said>) {
    let bytes = match content {
        Content::Up(Some(bytes)) | Content::Request(Method::AppendOne, bytes) => bytes,
        _ => return,
    };
    // A batch of commands does not decode to a request with a vote.
    let Ok(request) = pb::AppendRequest::decode(bytes.clone()) else {
        return;
    };
    let Some(vote) = request.vote else { return };
    if vote.node_id == caller.from && vote.committed {
        said.push(Said::Leads {
            member: caller.from,
            term: vote.term,
        });
    }
}

fn voted(caller: &Caller, request: &Bytes, answer: &Body, said: &mut Vec<Said>) {
    let Ok(request) = pb::VoteRequest::decode(request.clone()) else {
        return;
    };
    let Ok(answer) = answer else { return };
    let Ok(answer) = pb::VoteResponse::decode(answer.clone()) else {
        return;
    };
    let Some(vote) = answer.vote else { return };
    if answer.granted && !request.pre_vote {
        said.push(Said::Granted {
            member: caller.to,
            term: vote.term,
            node: vote.node_id,
        });
    }
}

/// A message in words.
pub(super) fn describe(packet: &Packet) -> String {
    fn read<A: Message + Default + std::fmt::Debug>(bytes: &Bytes) -> Option<String> {
        A::decode(bytes.clone())
            .ok()
            .map(|message| format!("{message:?}"))
    }
    let (from, to) = packet.link();
    let text = match &packet.content {
        Content::Request(Method::Vote, bytes) => read::<pb::VoteRequest>(bytes),
        Content::Request(Method::AppendOne, bytes) => read::<pb::AppendRequest>(bytes),
        Content::Up(Some(bytes)) => {
            read::<pb::AppendRequest>(bytes).or_else(|| read::<pb::ForwardedProposals>(bytes))
        }
        other => Some(format!("{other:?}")),
    };
    let kind = match &packet.content {
        Content::Request(method, _) => format!("{method:?}"),
        Content::Up(_) => "Up".into(),
        _ => String::new(),
    };
    format!(
        "{from} -> {to} #{} {kind} {}",
        packet.call,
        text.unwrap_or_default()
    )
}
