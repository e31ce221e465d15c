//! However writes, hub, history turns and clients interleave: each watcher
//! gets every event of its range from its start on, once, in order, a
//! revision whole, and a progress revision is never ahead of the events.

use super::*;
use crate::watch::registry::{Form, Selector};
use proptest::prelude::*;
use std::collections::BTreeMap;
use sternpost_proto::mvccpb::{self, event::EventType};
use sternpost_storage::testing::script::{Step, parse};

const STREAMS: usize = 3;

/// So tight that queues fill after a few events.
const LIMITS: Limits = Limits {
    queue_bytes: 700,
    all_queues_bytes: 1600,
    crowded_queue_bytes: 150,
    fragment_bytes: 1 << 20,
};

#[derive(Clone, Debug)]
enum Op {
    Put(u8),
    Delete(u8),
    Txn(Vec<u8>),
    Compact(i64),
    Publish,
    Lag,
    Install,
    BeginTurn(usize),
    EndTurn,
    Create {
        stream: usize,
        range: (u8, u8),
        start: Start,
        form: Form,
        progress: bool,
    },
    Cancel(usize),
    Progress(usize),
    Tick(usize),
    Read(usize, usize),
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Now,
    Back(i64),
    Ahead(i64),
}

fn op() -> impl Strategy<Value = Op> {
    let start = prop_oneof![2 => Just(Start::Now), 3 => (0i64..20).prop_map(Start::Back), 1 => (1i64..5).prop_map(Start::Ahead)];
    let form = (
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(prev_kv, skip_puts, skip_deletes)| Form {
            prev_kv,
            skip_puts,
            skip_deletes,
            fragment: false,
        });
    let create = (0..STREAMS, (0u8..5, 0u8..6), start, form, any::<bool>()).prop_map(
        |(stream, range, start, form, progress)| Op::Create {
            stream,
            range,
            start,
            form,
            progress,
        },
    );
    prop_oneof![
        12 => (0u8..5).prop_map(Op::Put),
        4 => (0u8..5).prop_map(Op::Delete),
        3 => prop::collection::vec(0u8..5, 1..4).prop_map(Op::Txn),
        1 => (0i64..10).prop_map(Op::Compact),
        12 => Just(Op::Publish),
        1 => Just(Op::Lag),
        1 => Just(Op::Install),
        6 => (1usize..5).prop_map(Op::BeginTurn),
        6 => Just(Op::EndTurn),
        6 => create,
        1 => any::<usize>().prop_map(Op::Cancel),
        2 => (0..STREAMS).prop_map(Op::Progress),
        2 => (0..STREAMS).prop_map(Op::Tick),
        8 => (0..STREAMS, 1usize..6).prop_map(|(stream, count)| Op::Read(stream, count)),
    ]
}

/// An event as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    revision: i64,
    key: Vec<u8>,
    /// `None` for a delete.
    value: Option<Vec<u8>>,
    before: Option<Vec<u8>>,
}

/// A watch, as its client knows it.
#[derive(Debug)]
struct Client {
    stream: usize,
    range: (Vec<u8>, Vec<u8>),
    from: i64,
    form: Form,
    created: bool,
    canceled: bool,
    received: Vec<Seen>,
}

struct Run {
    world: World,
    keys: Vec<SessionKey>,
    values: u64,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    history: Vec<Seen>,
    compacted: i64,
    turn: Option<Turn>,
    clients: BTreeMap<i64, Client>,
}

impl Run {
    fn new() -> Self {
        let mut world = World::new(LIMITS);
        let keys = (0..STREAMS).map(|_| world.delivery.open(false)).collect();
        Self {
            world,
            keys,
            values: 0,
            state: BTreeMap::new(),
            history: Vec::new(),
            compacted: -1,
            turn: None,
            clients: BTreeMap::new(),
        }
    }

    fn write(&mut self, statement: &str) {
        for step in parse(statement).expect("a statement") {
            let Step::Apply(payloads) = step else {
                panic!("{statement} writes")
            };
            for revision in self.world.apply(payloads) {
                for event in &revision.events {
                    let kv = event.key_value();
                    let value = (!event.is_delete()).then(|| kv.value.to_vec());
                    let before = match &value {
                        Some(value) => self.state.insert(kv.key.to_vec(), value.clone()),
                        None => self.state.remove(kv.key.as_ref()),
                    };
                    self.history.push(Seen {
                        revision: revision.revision,
                        key: kv.key.to_vec(),
                        value,
                        before,
                    });
                }
            }
        }
    }

    fn next_value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    fn step(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Put(key) => {
                let value = self.next_value();
                self.write(&format!("put k{key} v{value}"));
            }
            Op::Delete(key) => self.write(&format!("delete k{key}")),
            Op::Txn(mut keys) => {
                keys.sort_unstable();
                keys.dedup();
                let puts: Vec<_> = keys
                    .iter()
                    .map(|key| format!("put k{key} v{}", self.next_value()))
                    .collect();
                self.write(&format!("txn {{ {} }} {{ }}", puts.join("; ")));
            }
            Op::Compact(back) => {
                let revision = self.world.revision() - back;
                if revision > self.compacted.max(0) {
                    self.compacted = revision;
                    self.write(&format!("compact {revision}"));
                }
            }
            Op::Publish => drop(self.world.publish()),
            Op::Lag => self.world.lag(),
            Op::Install => self.world.install(),
            Op::BeginTurn(max) if self.turn.is_none() => self.turn = self.world.read_history(max),
            Op::BeginTurn(_) => {}
            Op::EndTurn => {
                if let Some(turn) = self.turn.take() {
                    self.world.serve(&turn);
                }
            }
            Op::Create {
                stream,
                range,
                start,
                form,
                progress,
            } => self.create(stream, range, start, form, progress),
            Op::Cancel(which) => {
                let id = i64::try_from(which % self.clients.len().max(1)).expect("small") + 1;
                if let Some(client) = self.clients.get(&id) {
                    let (key, revision) = (self.keys[client.stream], self.world.revision());
                    self.world.delivery.cancel(key, id, revision);
                }
            }
            Op::Progress(stream) => {
                let revision = self.world.revision();
                self.world.delivery.progress(self.keys[stream], revision);
            }
            Op::Tick(stream) => self.world.delivery.tick(self.keys[stream]),
            Op::Read(stream, count) => {
                for _ in 0..count {
                    self.read(stream)?;
                }
            }
        }
        Ok(())
    }

    fn create(
        &mut self,
        stream: usize,
        (first, end): (u8, u8),
        start: Start,
        form: Form,
        progress_notify: bool,
    ) {
        let revision = self.world.revision();
        let start_revision = match start {
            Start::Now => 0,
            Start::Back(back) => (revision - back).max(1),
            Start::Ahead(ahead) => revision + ahead,
        };
        let key = format!("k{first}").into_bytes();
        let end = if end <= first {
            Vec::new()
        } else {
            format!("k{end}").into_bytes()
        };
        let watch_id = i64::try_from(self.clients.len()).expect("small") + 1;
        let selector = Selector::parse(&key, &end);
        let request = CreateRequest {
            selector,
            start_revision,
            watch_id,
            form,
            progress_notify,
        };
        assert!(
            self.world.create(self.keys[stream], request),
            "nothing speaks against it"
        );
        let from = if start_revision == 0 {
            revision + 1
        } else {
            start_revision
        };
        let client = Client {
            stream,
            range: (key, end),
            from,
            form,
            created: false,
            canceled: false,
            received: Vec::new(),
        };
        self.clients.insert(watch_id, client);
    }

    /// Reads one response; false if there is none.
    fn read(&mut self, stream: usize) -> Result<bool, TestCaseError> {
        let Some(response) = self.world.receive(self.keys[stream]) else {
            return Ok(false);
        };
        let response = response.expect("nothing ends the stream");
        let revision = response.header.expect("a header").revision;
        let is_progress = response.events.is_empty() && !response.created && !response.canceled;
        if is_progress {
            self.check_progress(stream, response.watch_id, revision)?;
            return Ok(true);
        }
        let client = self
            .clients
            .get_mut(&response.watch_id)
            .expect("a watch of ours");
        prop_assert_eq!(client.stream, stream);
        prop_assert!(!client.canceled, "nothing follows the end");
        prop_assert_eq!(
            response.created,
            !client.created,
            "created comes first and once"
        );
        client.created = true;
        client.canceled = response.canceled;
        if response.compact_revision != 0 {
            prop_assert_eq!(revision, 0);
            prop_assert!(response.compact_revision <= self.compacted);
        }
        if let (Some(last), Some(first)) = (client.received.last(), response.events.first()) {
            let first = first.kv.as_ref().expect("a pair").mod_revision;
            prop_assert!(last.revision < first, "a revision is never split");
        }
        for event in &response.events {
            prop_assert!(event.kv.as_ref().expect("a pair").mod_revision <= revision);
            client.received.push(seen(event));
        }
        Ok(true)
    }

    /// Progress promises that all events up to its revision were sent.
    fn check_progress(&self, stream: usize, id: i64, revision: i64) -> Result<(), TestCaseError> {
        let concerned = self.clients.iter().filter(|(other, client)| {
            client.stream == stream
                && client.created
                && !client.canceled
                && (id == -1 || id == **other)
        });
        for (id, client) in concerned {
            let owed = self
                .expected(client)
                .into_iter()
                .filter(|event| event.revision <= revision)
                .count();
            prop_assert!(
                client.received.len() >= owed,
                "watch {id} heard of progress {revision} too early"
            );
            prop_assert!(
                revision >= client.from - 1,
                "watch {id} heard of progress {revision} before its start"
            );
        }
        Ok(())
    }

    fn expected(&self, client: &Client) -> Vec<Seen> {
        let (key, end) = &client.range;
        let holds = |event: &&Seen| match end.as_slice() {
            [] => event.key == *key,
            end => event.key >= *key && event.key.as_slice() < end,
        };
        let wanted = |event: &&Seen| {
            if event.value.is_some() {
                !client.form.skip_puts
            } else {
                !client.form.skip_deletes
            }
        };
        self.history
            .iter()
            .filter(|event| event.revision >= client.from)
            .filter(holds)
            .filter(wanted)
            .cloned()
            .collect()
    }

    /// Lets everybody finish, then compares.
    fn finish(mut self) -> Result<(), TestCaseError> {
        if let Some(turn) = self.turn.take() {
            self.world.serve(&turn);
        }
        loop {
            let mut moved = false;
            while self.world.publish() {}
            while let Some(turn) = self.world.read_history(3) {
                self.world.serve(&turn);
                moved = true;
            }
            for stream in 0..STREAMS {
                while self.read(stream)? {
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        for (id, client) in &self.clients {
            let mut expected = self.expected(client);
            prop_assert!(client.created);
            if client.canceled {
                expected.truncate(client.received.len());
            }
            for event in &mut expected {
                let received = client
                    .received
                    .iter()
                    .find(|seen| seen.revision == event.revision && seen.key == event.key);
                let hidden = received.is_some_and(|seen| seen.before.is_none());
                if !client.form.prev_kv || (hidden && event.revision - 1 < self.compacted) {
                    event.before = None;
                }
            }
            prop_assert_eq!(&client.received, &expected, "watch {}", id);
        }
        let counts = self.world.delivery.counts();
        prop_assert_eq!(counts.slow_watchers, 0);
        prop_assert_eq!(counts.pending_events, 0);
        prop_assert_eq!(
            counts.watchers,
            self.clients
                .values()
                .filter(|client| !client.canceled)
                .count()
        );
        Ok(())
    }
}

fn seen(event: &mvccpb::Event) -> Seen {
    let kv = event.kv.as_ref().expect("a pair");
    let is_put = event.r#type == i32::from(EventType::Put);
    Seen {
        revision: kv.mod_revision,
        key: kv.key.to_vec(),
        value: is_put.then(|| kv.value.to_vec()),
        before: event.prev_kv.as_ref().map(|before| before.value.to_vec()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_event_once_and_in_order(ops in prop::collection::vec(op(), 1..150)) {
        let mut run = Run::new();
        for op in ops {
            run.step(op)?;
        }
        run.finish()?;
    }
}
