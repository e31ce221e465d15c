//! Clients: each has one request at a time, to any member, and writes down
//! what it was told.

use crate::{
    chance::Chance,
    invariants::{Checked, acknowledged::Known, linearizable::Read},
    member::Member,
    world::World,
};
use parking_lot::Mutex;
use std::sync::Arc;
use sternpost_proto::{
    etcdserverpb as pb,
    internal::{Command, CommandHeader, command::Verb},
};
use sternpost_raft::{ProposeError, RaftNode, ReadIndexError};
use tokio::task::AbortHandle;

/// How long a client waits for an answer.
const PATIENCE: u64 = 4_000_000;

pub struct Client {
    number: usize,
    chance: Chance,
    next_at: u64,
    requests: u64,
    flying: Option<Flying>,
}

struct Flying {
    request: Request,
    member: u64,
    floor: i64,
    give_up_at: u64,
    answer: Arc<Mutex<Option<Answer>>>,
    task: AbortHandle,
}

#[derive(Clone, Debug)]
enum Request {
    Put { key: String, value: String, id: u64 },
    Read { key: String },
}

enum Answer {
    Put(Result<i64, ProposeError>),
    Read(Result<(i64, Option<(i64, String)>), ReadIndexError>),
}

impl Client {
    pub fn new(number: usize, chance: Chance) -> Self {
        Self {
            number,
            chance,
            next_at: 0,
            requests: 0,
            flying: None,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.flying.is_none()
    }

    fn request(&mut self, keys: u64) -> Request {
        self.requests += 1;
        let key = format!("k{}", self.chance.between(0, keys));
        match self.chance.permille(600) {
            true => Request::Put {
                key,
                value: format!("c{}-{}", self.number, self.requests),
                id: (self.number as u64 + 1) << 32 | self.requests,
            },
            false => Request::Read { key },
        }
    }
}

fn command(id: u64, key: &str, value: &str) -> Command {
    Command {
        header: Some(CommandHeader {
            id,
            feature_level: 1,
            ..CommandHeader::default()
        }),
        verb: Some(Verb::Put(pb::PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..pb::PutRequest::default()
        })),
    }
}

async fn ask(node: RaftNode, request: Request) -> Answer {
    match request {
        Request::Put { key, value, id } => {
            let applied = node.propose(command(id, &key, &value)).await;
            Answer::Put(applied.map(|applied| applied.revision))
        }
        Request::Read { key } => {
            if let Err(error) = node.read_index().await {
                return Answer::Read(Err(error));
            }
            let request = pb::RangeRequest {
                key: key.into(),
                ..pb::RangeRequest::default()
            };
            let view = node.reads().view();
            let found = view.range(&request).unwrap().kvs.first().map(|kv| {
                let value = String::from_utf8(kv.value.to_vec()).unwrap();
                (kv.mod_revision, value)
            });
            Answer::Read(Ok((view.revision(), found)))
        }
    }
}

impl World {
    /// Takes answers, and sends what is to be sent now.
    pub fn serve_clients(&mut self) -> Checked {
        for at in 0..self.clients.len() {
            if let Some(flying) = self.clients[at].flying.take() {
                self.check_on(at, flying)?;
            }
            let client = &self.clients[at];
            if client.is_idle() && client.next_at <= self.now && !self.quiet {
                self.fly(at);
            }
        }
        Ok(())
    }

    fn fly(&mut self, at: usize) {
        let ready: Vec<u64> = self
            .members
            .values()
            .filter(|member| member.node().is_some())
            .map(|member| member.id)
            // Progress is not to be had of one that was never let in.
            .filter(|id| !self.is_calm || self.belongs(*id))
            .collect();
        if ready.is_empty() {
            return;
        }
        let client = &mut self.clients[at];
        let id = client.chance.pick(&ready);
        let member: &Member = &self.members[&id];
        let Some((node, runtime)) = member.node().cloned().zip(member.runtime()) else {
            return;
        };
        let request = client.request(self.plan.keys);
        let answer: Arc<Mutex<Option<Answer>>> = Arc::default();
        let (out, asked) = (answer.clone(), request.clone());
        let task = runtime.spawn(async move {
            let answer = ask(node, asked).await;
            *out.lock() = Some(answer);
        });
        let now = self.now;
        self.net
            .with(|inner| inner.note(format_args!("client {at} asks {id}: {request:?}")));
        self.clients[at].flying = Some(Flying {
            request,
            member: id,
            floor: self.linearizable.floor(),
            give_up_at: now + PATIENCE,
            answer,
            task: task.abort_handle(),
        });
    }

    fn belongs(&self, id: u64) -> bool {
        let membership = self.committed.membership();
        membership.is_none_or(|membership| membership.get_node(&id).is_some())
    }

    /// Whether there is an answer, or never will be.
    fn check_on(&mut self, at: usize, flying: Flying) -> Checked {
        let answer = flying.answer.lock().take();
        let lost = Arc::strong_count(&flying.answer) == 1;
        if answer.is_none() && !lost && flying.give_up_at > self.now {
            self.clients[at].flying = Some(flying);
            return Ok(());
        }
        flying.task.abort();
        let client = &mut self.clients[at];
        client.next_at = self.now + client.chance.between(0, self.plan.think_max);
        let Flying {
            request,
            floor,
            member,
            ..
        } = flying;
        match (request, answer) {
            (Request::Put { value, .. }, answer) => {
                self.put_answered(at, member, floor, value, answer)
            }
            (Request::Read { key }, Some(Answer::Read(Ok((revision, found))))) => {
                self.answers += 1;
                let text = format!("client {at} read {key} on {member} at {revision}: {found:?}");
                self.net.with(|inner| inner.note(format_args!("{text}")));
                let read = Read {
                    client: at,
                    key,
                    revision,
                    found,
                };
                self.linearizable.read(floor, read)
            }
            (Request::Read { .. }, _) => Ok(()),
        }
    }

    fn put_answered(
        &mut self,
        at: usize,
        member: u64,
        floor: i64,
        value: String,
        answer: Option<Answer>,
    ) -> Checked {
        let known = match &answer {
            Some(Answer::Put(Ok(revision))) => Known::Written(*revision),
            Some(Answer::Put(Err(
                ProposeError::Rejected(_)
                | ProposeError::NoLeader
                | ProposeError::Overloaded
                | ProposeError::Stopped
                | ProposeError::TooDeep,
            ))) => Known::NotAccepted,
            Some(Answer::Put(Err(ProposeError::OutcomeUnknown)) | Answer::Read(_)) | None => {
                Known::Unknown
            }
        };
        self.net.with(|inner| {
            inner.note(format_args!(
                "client {at} wrote {value} on {member}: {known:?}"
            ))
        });
        self.acknowledged.answered(value, known);
        if let Known::Written(revision) = known {
            self.answers += 1;
            self.linearizable.written(at, floor, revision)?;
            // Whoever was answered reads it on the same member at once, if that is still one.
            let member_is = self.members.get(&member);
            let node = member_is.and_then(Member::node);
            let view = node.map(|node| node.reads().view().revision());
            if view.is_some_and(|view| view < revision) {
                return Err(format!(
                    "client {at} was answered revision {revision} by member {member}, which has not applied it"
                ));
            }
        }
        Ok(())
    }
}
