//! The calling side: the transport that members are opened with.

use super::{Body, Content, Method, Net, Packet, Reading};
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use prost::Message;
use std::sync::Arc;
use sternpost_proto::internal as pb;
use sternpost_raft::peer::{Call, Caller, Incoming, PeerChannel, PeerError, Route, Transport};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::AbortHandle,
};

/// Messages of one stream that may be under way.
const WINDOW: usize = 32;

/// One start of one member, on the network.
pub struct Wire {
    pub net: Net,
    pub life: u64,
}

impl Transport for Wire {
    fn channel(&self, route: Route) -> Arc<dyn PeerChannel> {
        Arc::new(Channel {
            net: self.net.clone(),
            life: self.life,
            caller: route.caller,
        })
    }
}

struct Channel {
    net: Net,
    life: u64,
    caller: Caller,
}

/// Nobody waits for the call any more.
struct Forget {
    net: Net,
    caller: Caller,
    life: u64,
    call: u64,
    pump: Option<AbortHandle>,
}

impl Drop for Forget {
    fn drop(&mut self) {
        if let Some(pump) = &self.pump {
            pump.abort();
        }
        let dropped = self.net.with(|inner| {
            let waiting = inner.waiting.remove(&self.call);
            let reading = inner.reading.remove(&self.call);
            let lives = inner.lives.get(&self.caller.from) == Some(&self.life);
            if self.pump.is_some() && lives {
                inner.push(Packet {
                    caller: self.caller,
                    call: self.call,
                    content: Content::Cancel,
                });
            }
            (waiting, reading)
        });
        drop(dropped);
    }
}

fn gone<T>(_: T) -> PeerError {
    PeerError::Broken("the network is gone".into())
}

fn decode<B: Message + Default>(bytes: Bytes) -> Result<B, PeerError> {
    B::decode(bytes).map_err(|error| PeerError::Broken(error.to_string()))
}

impl Channel {
    fn unary<A: Message, B: Message + Default>(&self, method: Method, request: &A) -> Call<'_, B> {
        let (sender, reply) = oneshot::channel();
        let content = Content::Request(method, request.encode_to_vec().into());
        let (net, caller) = (self.net.clone(), self.caller);
        let call = net.with(|inner| {
            let call = inner.number();
            if inner.lives.get(&caller.from) == Some(&self.life) {
                inner.waiting.insert(call, (caller, sender));
                inner.send(Packet {
                    caller,
                    call,
                    content,
                });
            }
            call
        });
        let forget = Forget {
            net,
            caller,
            life: self.life,
            call,
            pump: None,
        };
        Box::pin(async move {
            let _forget = forget;
            decode(reply.await.map_err(gone)??)
        })
    }

    fn stream<A, B>(
        &self,
        method: Method,
        requests: BoxStream<'static, A>,
    ) -> Call<'_, Incoming<'static, B>>
    where
        A: Message + 'static,
        B: Message + Default + 'static,
    {
        let (net, caller, life) = (self.net.clone(), self.caller, self.life);
        Box::pin(async move {
            let (sender, accepted) = oneshot::channel();
            let (items, answers) = mpsc::unbounded_channel();
            let credits = Arc::new(Semaphore::new(WINDOW));
            let reading = Reading {
                caller,
                accepted: Some(sender),
                items,
                credits: credits.clone(),
            };
            let call = net.with(|inner| {
                let call = inner.number();
                inner.reading.insert(call, reading);
                let content = Content::Open(method);
                inner.push(Packet {
                    caller,
                    call,
                    content,
                });
                call
            });
            let pumping = pump(net.clone(), caller, call, requests, credits);
            let forget = Forget {
                net,
                caller,
                life,
                call,
                pump: Some(tokio::spawn(pumping).abort_handle()),
            };
            accepted.await.map_err(gone)??;
            let state: (mpsc::UnboundedReceiver<Body>, Forget) = (answers, forget);
            let answers = stream::unfold(state, |(mut answers, forget)| async move {
                let body = answers.recv().await?;
                Some((body.and_then(decode), (answers, forget)))
            });
            Ok(answers.boxed())
        })
    }
}

/// Sends requests as long as there is room.
async fn pump<A: Message>(
    net: Net,
    caller: Caller,
    call: u64,
    mut requests: BoxStream<'static, A>,
    credits: Arc<Semaphore>,
) {
    while let Some(request) = requests.next().await {
        let Ok(credit) = credits.acquire().await else {
            return;
        };
        credit.forget();
        let content = Content::Up(Some(request.encode_to_vec().into()));
        net.with(|inner| {
            inner.push(Packet {
                caller,
                call,
                content,
            })
        });
    }
    let content = Content::Up(None);
    net.with(|inner| {
        inner.push(Packet {
            caller,
            call,
            content,
        })
    });
}

impl PeerChannel for Channel {
    fn append(
        &self,
        requests: BoxStream<'static, pb::AppendRequest>,
    ) -> Call<'_, Incoming<'static, pb::AppendResponse>> {
        self.stream(Method::Append, requests)
    }

    fn append_one(&self, request: pb::AppendRequest) -> Call<'_, pb::AppendResponse> {
        self.unary(Method::AppendOne, &request)
    }

    fn vote(&self, request: pb::VoteRequest) -> Call<'_, pb::VoteResponse> {
        self.unary(Method::Vote, &request)
    }

    fn transfer_leader(
        &self,
        request: pb::TransferLeaderRequest,
    ) -> Call<'_, pb::TransferLeaderResponse> {
        self.unary(Method::TransferLeader, &request)
    }

    fn snapshot(
        &self,
        _: BoxStream<'static, pb::SnapshotUpload>,
    ) -> Call<'_, Incoming<'static, pb::SnapshotProgress>> {
        let error = PeerError::Unreachable("snapshots are not simulated".into());
        Box::pin(std::future::ready(Err(error)))
    }

    fn propose(
        &self,
        proposals: BoxStream<'static, pb::ForwardedProposals>,
    ) -> Call<'_, Incoming<'static, pb::ForwardedRefusals>> {
        self.stream(Method::Propose, proposals)
    }

    fn read_index(&self, request: pb::ReadIndexRequest) -> Call<'_, pb::ReadIndexResponse> {
        self.unary(Method::ReadIndex, &request)
    }

    fn members(&self, _: pb::MembersRequest) -> Call<'_, pb::MembersResponse> {
        let error = PeerError::Unreachable("nobody joins here".into());
        Box::pin(std::future::ready(Err(error)))
    }
}
