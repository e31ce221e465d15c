//! Clients: each asks one thing after the other, of any member.

use crate::{
    history::{Asked, Operation, Told},
    world::World,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{sync::Arc, time::Duration};
use sternpost_proto::{
    etcdserverpb as pb,
    internal::{Command, CommandHeader, command::Verb},
};
use sternpost_raft::{ProposeError, RaftNode};
use tokio::time::{Instant, sleep, timeout};

/// As long as a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

const KEYS: u32 = 4;

/// A put by way of `member`, and what is told of it.
pub async fn put(node: &RaftNode, member: u64, id: u64, key: &str, value: &str) -> Told {
    let request = pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    };
    let command = Command {
        header: Some(CommandHeader {
            id,
            member_id: member,
            feature_level: 1,
            ..Default::default()
        }),
        verb: Some(Verb::Put(request)),
    };
    match timeout(PATIENCE, node.propose(command)).await {
        Ok(Ok(applied)) => Told::Done(applied.revision),
        Ok(Err(ProposeError::OutcomeUnknown)) | Err(_) => Told::Unknown,
        Ok(Err(_)) => Told::Refused,
    }
}

/// One client, until the world says that it is enough.
pub async fn run(world: Arc<World>, client: u64, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut number = 0;
    while !world.is_over() {
        sleep(Duration::from_millis(rng.random_range(1..120))).await;
        let member = rng.random_range(1..=world.size());
        let Some(node) = world.node(member) else {
            continue;
        };
        let key = format!("k{}", rng.random_range(0..KEYS));
        let invoked = Instant::now();
        number += 1;
        let asked = if rng.random_bool(0.6) {
            let value = format!("{client}/{number}");
            let id = client << 32 | number;
            let told = put(&node, member, id, &key, &value).await;
            Asked::Put { key, value, told }
        } else {
            match read(&node, &key).await {
                Some((value, revision)) => Asked::Read {
                    key,
                    value,
                    revision,
                },
                None => continue,
            }
        };
        world.note(Operation {
            member,
            invoked,
            returned: Some(Instant::now()),
            asked,
        });
    }
}

/// A linearizable read.
async fn read(node: &RaftNode, key: &str) -> Option<(Option<String>, i64)> {
    timeout(PATIENCE, node.read_index()).await.ok()?.ok()?;
    let view = node.reads().view();
    let request = pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    };
    let answer = view.range(&request).unwrap();
    let value = answer.kvs.first();
    let value = value.map(|kv| String::from_utf8(kv.value.to_vec()).unwrap());
    Some((value, view.revision()))
}
