//! Whether data that fits etcd's quota fits ours.

use super::budget::{Check, Limit, number};
use super::load::{self, Load};
use super::options::Options;
use super::report::Section;
use super::values::{Content, Kind as Values};
use crate::target::{Kind, Plan};
use std::fmt::Write as _;

const QUOTA_MIB: u64 = 128;
const CLIENTS: usize = 100;
/// Ours is not filled further than this, in multiples of what the reference took.
const ENOUGH: u64 = 2;

/// What is put until it is refused: a name, bytes of a value, keys (none: each put a new key).
const FILLS: [(&str, usize, Option<u64>); 3] = [
    ("new keys, values of 256 bytes", 256, None),
    ("new keys, values of 16 bytes", 16, None),
    (
        "1,000 keys again and again, values of 256 bytes",
        256,
        Some(1000),
    ),
];

/// Fills both.
pub async fn section(options: &Options) -> Section {
    let quota_mib = options.keys.unwrap_or(QUOTA_MIB);
    let mut text = format!(
        "Random values are put with `--quota-backend-bytes` of {quota_mib} MiB until the first is refused, or until Sternpost took \
         {ENOUGH} times as many as etcd.\n\n| filled with | etcd took | at dbSize, MiB | Sternpost took | at dbSize, MiB | ratio \
         |\n|---|---:|---:|---:|---:|---:|\n"
    );
    let mut checks = Vec::new();
    for (name, bytes, keys) in FILLS {
        let content = Content {
            kind: Values::Random,
            bytes,
            seed: 3,
        };
        let etcd = fill(Kind::Etcd, content, keys, u64::MAX / 2, quota_mib).await;
        let ours = fill(Kind::Sternpost, content, keys, etcd.0 * ENOUGH, quota_mib).await;
        #[allow(clippy::cast_precision_loss)]
        let ratio = ours.0 as f64 / etcd.0 as f64;
        println!("quota, {name}: etcd {etcd:?}, sternpost {ours:?}");
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {}x |",
            etcd.0,
            number(etcd.1),
            ours.0,
            number(ours.1),
            number(ratio)
        );
        checks.push(Check::absolute(
            &format!("quota: {name}"),
            ratio,
            "x",
            Limit::AtLeast(1.0),
        ));
    }
    Section {
        title: "What fits a quota".to_owned(),
        text,
        checks,
    }
}

/// How many puts were taken, and the database's size then.
async fn fill(
    kind: Kind,
    content: Content,
    keys: Option<u64>,
    puts: u64,
    quota_mib: u64,
) -> (u64, f64) {
    let quota = format!("--quota-backend-bytes={}", quota_mib << 20);
    let target = Plan::new(kind).flag(&quota).start();
    let load = Load {
        content,
        first: 0,
        puts,
        keys: keys.unwrap_or(u64::MAX),
        clients: CLIENTS,
    };
    let loaded = load::run(&target, load).await;
    let mut client = target.client().await;
    (loaded.accepted, load::db_size_mib(&mut client).await)
}
