//! The network: what members say to each other, encoded, is lost, late, twice
//! and out of order, links are cut one way or both, and streams break.
//!
//! Single calls are like datagrams. Messages of a stream keep their order, as
//! on a connection: what is lost is sent again and comes late, and a stream
//! that gets nowhere for long breaks at both ends.

mod channel;
mod serve;

pub use channel::Wire;

use crate::{chance::Chance, plan, trace::Trace};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use sternpost_raft::peer::{Caller, Endpoint, PeerError};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, oneshot},
};

/// A stream that gets nowhere for this long breaks.
const STUCK_MAX: u64 = 2_000_000;
/// How often a stuck stream tries again.
const STUCK_LOOK: u64 = 50_000;

/// The calls of the service `Peer` that are simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Append,
    AppendOne,
    Vote,
    TransferLeader,
    Propose,
    ReadIndex,
}

type Body = Result<Bytes, PeerError>;

/// What is under way.
#[derive(Clone, Debug)]
enum Content {
    Request(Method, Bytes),
    Reply(Body),
    Open(Method),
    /// From the caller; `None` at the end.
    Up(Option<Bytes>),
    Cancel,
    Accept(Result<(), PeerError>),
    /// To the caller; `None` at the end.
    Down(Option<Body>),
}

#[derive(Clone, Debug)]
struct Packet {
    /// Caller and callee of the call, whichever way this packet goes.
    caller: Caller,
    call: u64,
    content: Content,
}

impl Packet {
    fn is_up(&self) -> bool {
        matches!(
            self.content,
            Content::Request(..) | Content::Open(_) | Content::Up(_) | Content::Cancel
        )
    }

    /// Adds all that it says to the trace.
    fn trace(&self, now: u64, trace: &mut Trace) {
        let kind = std::mem::discriminant(&self.content);
        let bytes = match &self.content {
            Content::Request(_, bytes)
            | Content::Up(Some(bytes))
            | Content::Reply(Ok(bytes))
            | Content::Down(Some(Ok(bytes))) => bytes.as_ref(),
            _ => &[],
        };
        let head = format!("{now} {:?} {} {kind:?}", self.caller, self.call);
        trace.add(head.as_bytes());
        trace.add(bytes);
    }

    fn link(&self) -> (u64, u64) {
        match self.is_up() {
            true => (self.caller.from, self.caller.to),
            false => (self.caller.to, self.caller.from),
        }
    }
}

/// One direction of a stream.
#[derive(Default)]
struct Pipe {
    queue: VecDeque<(u64, Packet)>,
    last_due: u64,
    stuck_since: Option<u64>,
}

enum Due {
    Packet(Packet),
    Pipe(u64, bool),
    Break(u64),
}

/// The caller's side of a stream.
struct Reading {
    caller: Caller,
    accepted: Option<oneshot::Sender<Result<(), PeerError>>>,
    items: mpsc::UnboundedSender<Body>,
    credits: Arc<Semaphore>,
}

/// A member that runs.
#[derive(Clone)]
struct Host {
    runtime: Handle,
    endpoint: Endpoint,
}

/// What members have said that invariants look at.
#[derive(Clone, Debug)]
pub enum Said {
    /// This member leads this term.
    Leads { member: u64, term: u64 },
    /// This member has voted.
    Granted { member: u64, term: u64, node: u64 },
}

pub struct Inner {
    pub now: u64,
    chance: Chance,
    pub wire: plan::Wire,
    pub trace: Trace,
    events: BTreeMap<(u64, u64), Due>,
    numbers: u64,
    waiting: BTreeMap<u64, (Caller, oneshot::Sender<Body>)>,
    reading: BTreeMap<u64, Reading>,
    serving: BTreeMap<u64, (Caller, mpsc::UnboundedSender<Body>)>,
    pipes: BTreeMap<(u64, bool), Pipe>,
    hosts: BTreeMap<u64, Host>,
    /// Which start of each member counts; others' packets are not taken.
    lives: BTreeMap<u64, u64>,
    pub cut: BTreeSet<(u64, u64)>,
    /// Nothing passes until then.
    pub clogs: BTreeMap<(u64, u64), u64>,
    said: Vec<Said>,
    pub delivered: u64,
}

/// The network. Cheap to clone.
#[derive(Clone)]
pub struct Net(Arc<Mutex<Inner>>);

impl Net {
    pub fn new(chance: Chance, wire: plan::Wire, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            now: 0,
            chance,
            wire,
            trace,
            events: BTreeMap::new(),
            numbers: 0,
            waiting: BTreeMap::new(),
            reading: BTreeMap::new(),
            serving: BTreeMap::new(),
            pipes: BTreeMap::new(),
            hosts: BTreeMap::new(),
            lives: BTreeMap::new(),
            cut: BTreeSet::new(),
            clogs: BTreeMap::new(),
            said: Vec::new(),
            delivered: 0,
        })))
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.0.lock())
    }

    /// A member has started; it is not reached before `host`.
    pub fn begin(&self, member: u64, life: u64) {
        self.0.lock().lives.insert(member, life);
    }

    /// The member can be reached.
    pub fn host(&self, member: u64, runtime: Handle, endpoint: Endpoint) {
        let host = Host { runtime, endpoint };
        self.0.lock().hosts.insert(member, host);
    }

    /// The member is gone: its calls end, and those to it break, soon or late.
    pub fn lose(&self, member: u64) {
        let mut dropped: Vec<Box<dyn Send>> = Vec::new();
        let mut inner = self.0.lock();
        inner.lives.remove(&member);
        if let Some(host) = inner.hosts.remove(&member) {
            dropped.push(Box::new(host.endpoint));
        }
        let of = |caller: &Caller| caller.from == member || caller.to == member;
        let calls = inner
            .reading
            .iter()
            .map(|(call, reading)| (*call, reading.caller));
        let calls = calls.chain(
            inner
                .serving
                .iter()
                .map(|(call, (caller, _))| (*call, *caller)),
        );
        let calls: BTreeSet<u64> = calls
            .filter(|(_, caller)| of(caller))
            .map(|(call, _)| call)
            .collect();
        for call in calls {
            let late = inner.chance.permille(300);
            let after = inner
                .chance
                .between(1000, if late { STUCK_MAX } else { 20_000 });
            let due = inner.now + after;
            inner.schedule(due, Due::Break(call));
        }
        let own: Vec<u64> = inner
            .waiting
            .iter()
            .filter(|(_, (caller, _))| caller.from == member)
            .map(|(call, _)| *call)
            .collect();
        for call in own {
            dropped.push(Box::new(inner.waiting.remove(&call)));
        }
        drop(inner);
        drop(dropped);
    }

    /// Everything passes at once from now on, and what is stuck goes on.
    pub fn heal(&self, wire: plan::Wire) {
        let mut inner = self.0.lock();
        inner.cut.clear();
        inner.clogs.clear();
        inner.wire = wire;
    }

    pub fn take_said(&self) -> Vec<Said> {
        std::mem::take(&mut self.0.lock().said)
    }

    /// Lets time pass up to `now`, and delivers what is due.
    pub fn deliver(&self, now: u64) {
        loop {
            let mut inner = self.0.lock();
            let Some(entry) = inner.events.first_entry() else {
                break;
            };
            if entry.key().0 > now {
                break;
            }
            let ((due, _), event) = entry.remove_entry();
            inner.now = inner.now.max(due);
            // Whoever is dropped may call back.
            let dropped = inner.happen(self, event);
            drop(inner);
            drop(dropped);
        }
        self.0.lock().now = now;
    }
}

impl Inner {
    pub fn note(&mut self, event: std::fmt::Arguments<'_>) {
        self.trace.note(self.now, event);
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn schedule(&mut self, due: u64, event: Due) {
        let number = self.number();
        self.events.insert((due, number), event);
    }

    fn delay(&mut self) -> u64 {
        let (low, high) = (self.wire.delay_min, self.wire.delay_max);
        self.chance.between(low, high.max(low + 1))
    }

    fn is_shut(&self, link: (u64, u64)) -> bool {
        self.cut.contains(&link) || self.clogs.get(&link).is_some_and(|until| *until > self.now)
    }

    /// Sends one message of a single call.
    fn send(&mut self, packet: Packet) {
        serve::listen(&packet.caller, &packet.content, &mut self.said);
        let copies = 1 + u64::from(self.chance.permille(self.wire.twice));
        for _ in 0..copies {
            if self.chance.permille(self.wire.lost) {
                continue;
            }
            let due = self.now + self.delay();
            self.schedule(due, Due::Packet(packet.clone()));
        }
    }

    /// Sends one message of a stream, behind those before it.
    fn push(&mut self, packet: Packet) {
        serve::listen(&packet.caller, &packet.content, &mut self.said);
        let mut delay = self.delay();
        if self.chance.permille(self.wire.lost) {
            delay += self.chance.between(50_000, 400_000);
        }
        let (call, up) = (packet.call, packet.is_up());
        if self.chance.permille(self.wire.breaks) {
            let due = self.now + delay;
            self.schedule(due, Due::Break(call));
        }
        let due = self.now + delay;
        let pipe = self.pipes.entry((call, up)).or_default();
        let due = due.max(pipe.last_due + 1);
        pipe.last_due = due;
        pipe.queue.push_back((due, packet));
        if pipe.queue.len() == 1 {
            self.schedule(due, Due::Pipe(call, up));
        }
    }

    /// Something that is due; what is returned is dropped without the lock.
    fn happen(&mut self, net: &Net, event: Due) -> Option<Box<dyn Send>> {
        match event {
            Due::Packet(packet) => {
                let shut = self.is_shut(packet.link());
                if shut { None } else { self.arrive(net, packet) }
            }
            Due::Pipe(call, up) => self.flow(net, call, up),
            Due::Break(call) => {
                self.pipes.remove(&(call, true));
                self.pipes.remove(&(call, false));
                let error = || PeerError::Broken("the connection broke".into());
                let serving = self.serving.remove(&call);
                if let Some((_, serving)) = &serving {
                    let _ = serving.send(Err(error()));
                }
                let reading = self.reading.remove(&call);
                if let Some(reading) = &reading {
                    let _ = reading.items.send(Err(error()));
                }
                Some(Box::new((serving, reading)))
            }
        }
    }

    /// The first message of a stream's direction arrives, or is stuck.
    fn flow(&mut self, net: &Net, call: u64, up: bool) -> Option<Box<dyn Send>> {
        let now = self.now;
        let link = self.pipes.get(&(call, up))?.queue.front()?.1.link();
        let shut = self.is_shut(link);
        let pipe = self.pipes.get_mut(&(call, up))?;
        if shut {
            let since = *pipe.stuck_since.get_or_insert(now);
            let event = match now - since > STUCK_MAX {
                true => Due::Break(call),
                false => Due::Pipe(call, up),
            };
            self.schedule(now + STUCK_LOOK, event);
            return None;
        }
        pipe.stuck_since = None;
        let (_, packet) = pipe.queue.pop_front()?;
        match pipe.queue.front() {
            Some((due, _)) => {
                let due = (*due).max(now);
                self.schedule(due, Due::Pipe(call, up));
            }
            None => drop(self.pipes.remove(&(call, up))),
        }
        self.arrive(net, packet)
    }

    fn arrive(&mut self, net: &Net, packet: Packet) -> Option<Box<dyn Send>> {
        self.delivered += 1;
        packet.trace(self.now, &mut self.trace);
        self.trace.message(self.now, || serve::describe(&packet));
        let Packet {
            caller,
            call,
            content,
        } = packet;
        match content {
            Content::Request(method, bytes) => match self.hosts.get(&caller.to) {
                Some(host) => serve::answer(net.clone(), host, caller, call, method, bytes),
                None => self.nobody(caller, call),
            },
            Content::Open(method) => match self.hosts.get(&caller.to) {
                Some(host) => {
                    let (sender, receiver) = mpsc::unbounded_channel();
                    serve::stream(net.clone(), host, caller, call, method, receiver);
                    self.serving.insert(call, (caller, sender));
                }
                None => {
                    let gone = Err(PeerError::Unreachable("nobody there".into()));
                    let content = Content::Accept(gone);
                    self.push(Packet {
                        caller,
                        call,
                        content,
                    });
                }
            },
            Content::Up(Some(bytes)) => {
                if let Some((_, serving)) = self.serving.get(&call) {
                    let _ = serving.send(Ok(bytes));
                }
                if let Some(reading) = self.reading.get(&call) {
                    reading.credits.add_permits(1);
                }
            }
            Content::Up(None) | Content::Cancel => {
                return Some(Box::new(self.serving.remove(&call)));
            }
            Content::Reply(body) => {
                let (_, waiting) = self.waiting.remove(&call)?;
                let _ = waiting.send(body);
            }
            Content::Accept(accepted) => {
                let reading = self.reading.get_mut(&call)?;
                let _ = reading.accepted.take()?.send(accepted);
            }
            Content::Down(Some(body)) => {
                let _ = self.reading.get(&call)?.items.send(body);
            }
            Content::Down(None) => return Some(Box::new(self.reading.remove(&call))),
        }
        None
    }

    /// No process listens there: sometimes the caller is told.
    fn nobody(&mut self, caller: Caller, call: u64) {
        if self.chance.permille(700) {
            let content = Content::Reply(Err(PeerError::Unreachable("nobody there".into())));
            self.send(Packet {
                caller,
                call,
                content,
            });
        }
    }
}
