//! A store of many keys: how it loads, what it takes, how it is read and restarted.

use super::budget::{Check, Limit, number};
use super::load::{self, Load, Loaded};
use super::options::Options;
use super::proc;
use super::report::Section;
use super::stats::{Latencies, Of};
use super::values::{Content, Kind as Values};
use crate::client::Client;
use crate::target::{Kind, Plan, Target};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fmt::Write as _;
use std::time::Instant;
use sternpost_proto::etcdserverpb as pb;

/// Enough for ten million keys with both servers' rows around them.
const QUOTA_FLAG: &str = "--quota-backend-bytes=17179869184";
const CLIENTS: usize = 500;
const VALUE_BYTES: usize = 256;
/// What a list in pages asks for at a time.
const PAGE: i64 = 500;
/// Pages to ask for, of a server that needs a good part of a second for one, and of one that does not.
const PAGES: [usize; 2] = [20, 500];

/// A load with a name.
pub struct Store {
    /// Its name on the command line.
    pub name: &'static str,
    title: &'static str,
    keys: u64,
    values: Values,
    /// The reference is loaded too.
    reference: bool,
    checks: fn(Option<&Figures>, &Figures) -> Vec<Check>,
}

/// Those the budgets are about.
pub const STORES: [Store; 3] = [
    Store {
        name: "load-1m",
        title: "A million keys, random values",
        keys: 1_000_000,
        values: Values::Random,
        reference: true,
        checks: random_checks,
    },
    Store {
        name: "load-1m-json",
        title: "A million keys, JSON objects",
        keys: 1_000_000,
        values: Values::Json,
        reference: true,
        checks: json_checks,
    },
    Store {
        name: "load-10m",
        title: "Ten million keys, random values",
        keys: 10_000_000,
        values: Values::Random,
        reference: false,
        checks: large_checks,
    },
];

/// What was measured, in the order in which it happens.
#[derive(Clone, Debug, Default)]
struct Figures {
    per_sec: f64,
    cpu_us: f64,
    p50: f64,
    p99: f64,
    p999: f64,
    slowest: f64,
    gap: f64,
    rss_peak: f64,
    rss: f64,
    disk: f64,
    db_size: f64,
    page_p50: f64,
    page_p99: f64,
    page_cpu: f64,
    compact_secs: f64,
    defragment_secs: f64,
    disk_after: f64,
    db_size_after: f64,
    healthy_secs: f64,
    rss_restarted: f64,
}

/// Row names and what stands in them.
const ROWS: [(&str, Of<Figures>); 20] = [
    ("puts/s", |f| f.per_sec),
    ("server CPU of a put, us", |f| f.cpu_us),
    ("put p50, ms", |f| f.p50),
    ("put p99, ms", |f| f.p99),
    ("put p99.9, ms", |f| f.p999),
    ("longest put, ms", |f| f.slowest),
    ("longest time without an answer to any client, ms", |f| {
        f.gap
    }),
    ("RSS at its highest, MiB", |f| f.rss_peak),
    ("RSS once it is quiet, MiB", |f| f.rss),
    ("data directory once it is quiet, MiB", |f| f.disk),
    ("dbSize, MiB", |f| f.db_size),
    ("page of 500 with exact count, p50, ms", |f| f.page_p50),
    ("page of 500 with exact count, p99, ms", |f| f.page_p99),
    ("server CPU of a page, ms", |f| f.page_cpu),
    ("compaction, s", |f| f.compact_secs),
    ("defragment, s", |f| f.defragment_secs),
    ("data directory after both, MiB", |f| f.disk_after),
    ("dbSize after both, MiB", |f| f.db_size_after),
    ("kill -9, then start to healthy, s", |f| f.healthy_secs),
    ("RSS then, MiB", |f| f.rss_restarted),
];

impl Store {
    /// Measures one or both servers.
    pub async fn section(&self, options: &Options) -> Section {
        let keys = options.keys.unwrap_or(self.keys);
        let content = Content {
            kind: self.values,
            bytes: VALUE_BYTES,
            seed: 1,
        };
        let etcd = if self.reference && options.reference {
            Some(measure(Kind::Etcd, content, keys).await)
        } else {
            None
        };
        let ours = measure(Kind::Sternpost, content, keys).await;
        let mut text = format!(
            "{keys} keys in order, a value of {VALUE_BYTES} bytes each, {CLIENTS} clients with one put at a time (our own loader, on the \
             same cores). Pages start at random keys and run to the end of the key space.\n\n"
        );
        text += &table(etcd.as_ref(), &ours);
        Section {
            title: self.title.to_owned(),
            text,
            checks: (self.checks)(etcd.as_ref(), &ours),
        }
    }
}

async fn measure(kind: Kind, content: Content, keys: u64) -> Figures {
    let mut target = Plan::new(kind).flag(QUOTA_FLAG).start();
    let load = Load {
        content,
        first: 0,
        puts: keys,
        keys,
        clients: CLIENTS,
    };
    let mut loaded = load::run(&target, load).await;
    assert_eq!(loaded.accepted, keys, "the quota is large enough");
    let mut figures = of_load(&mut loaded);
    figures.rss_peak = proc::rss_peak_mib(target.pid());
    load::settle(&target).await;
    figures.rss = proc::rss_mib(target.pid());
    figures.disk = proc::disk_mib(target.data_dir());
    let mut client = target.client().await;
    figures.db_size = load::db_size_mib(&mut client).await;
    println!("{}: loaded: {figures:.1?}", kind.name());
    pages(&target, &mut client, content, keys, &mut figures).await;
    shrink(&target, &mut client, &mut figures).await;
    restart(&mut target, content, keys, &mut figures).await;
    println!("{}: {figures:.3?}", kind.name());
    figures
}

fn of_load(loaded: &mut Loaded) -> Figures {
    Figures {
        per_sec: loaded.per_sec,
        cpu_us: loaded.cpu_us,
        p50: loaded.latencies.quantile_ms(0.5),
        p99: loaded.latencies.quantile_ms(0.99),
        p999: loaded.latencies.quantile_ms(0.999),
        slowest: loaded.latencies.max_ms(),
        gap: loaded.gap_ms,
        ..Figures::default()
    }
}

/// Lists a page from a random key on; its count must be exact.
async fn pages(
    target: &Target,
    client: &mut Client,
    content: Content,
    keys: u64,
    figures: &mut Figures,
) {
    let mut rng = StdRng::seed_from_u64(2);
    let mut latencies = Latencies::default();
    // The first is not counted, and tells how many are affordable.
    let slow = page(client, content, keys, 0).await > 0.05;
    let pages = PAGES[usize::from(!slow)];
    let before = proc::cpu_secs(target.pid());
    for _ in 0..pages {
        let start = Instant::now();
        page(client, content, keys, rng.random_range(0..keys)).await;
        latencies.push(start.elapsed());
    }
    let cpu = proc::cpu_secs(target.pid()) - before;
    #[allow(clippy::cast_precision_loss)]
    let pages = pages as f64;
    figures.page_cpu = cpu * 1e3 / pages;
    figures.page_p50 = latencies.quantile_ms(0.5);
    figures.page_p99 = latencies.quantile_ms(0.99);
}

/// Seconds that it took.
async fn page(client: &mut Client, content: Content, keys: u64, from: u64) -> f64 {
    let start = Instant::now();
    let request = pb::RangeRequest {
        key: content.key(from).into(),
        range_end: content.end().into(),
        limit: PAGE,
        ..Default::default()
    };
    let answer = client.kv.range(request).await.expect("a page is answered");
    let answer = answer.into_inner();
    assert_eq!(
        u64::try_from(answer.count),
        Ok(keys - from),
        "the count is exact"
    );
    assert_eq!(answer.kvs.len() as u64, (keys - from).min(PAGE as u64));
    start.elapsed().as_secs_f64()
}

async fn shrink(target: &Target, client: &mut Client, figures: &mut Figures) {
    let status = client.maintenance.status(pb::StatusRequest {}).await;
    let header = status.expect("status is answered").into_inner().header;
    let compaction = pb::CompactionRequest {
        revision: header.expect("an answer has a header").revision,
        physical: true,
    };
    let start = Instant::now();
    client.kv.compact(compaction).await.expect("it compacts");
    figures.compact_secs = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let defragment = client
        .maintenance
        .defragment(pb::DefragmentRequest {})
        .await;
    defragment.expect("it defragments");
    figures.defragment_secs = start.elapsed().as_secs_f64();
    load::settle(target).await;
    figures.disk_after = proc::disk_mib(target.data_dir());
    figures.db_size_after = load::db_size_mib(client).await;
}

async fn restart(target: &mut Target, content: Content, keys: u64, figures: &mut Figures) {
    target.kill();
    let start = Instant::now();
    target.restart();
    figures.healthy_secs = start.elapsed().as_secs_f64();
    let mut client = target.client().await;
    page(&mut client, content, keys, 0).await;
    load::settle(target).await;
    figures.rss_restarted = proc::rss_mib(target.pid());
}

fn table(etcd: Option<&Figures>, ours: &Figures) -> String {
    let mut text = "| | etcd | Sternpost | ratio |\n|---|---:|---:|---:|\n".to_owned();
    for (name, of) in ROWS {
        let theirs = etcd.map(of);
        let ratio = theirs.map(|theirs| format!("{}x", number(of(ours) / theirs)));
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} |",
            theirs.map(number).unwrap_or_default(),
            number(of(ours)),
            ratio.unwrap_or_default()
        );
    }
    text
}

fn random_checks(etcd: Option<&Figures>, ours: &Figures) -> Vec<Check> {
    let Some(etcd) = etcd else {
        return Vec::new();
    };
    let most = |what: &str, of: fn(&Figures) -> f64, first: f64, goal: f64| {
        let (first, goal) = (Limit::AtMost(first), Limit::AtMost(goal));
        Check::ratio(what, of(ours), of(etcd), first, goal)
    };
    let healthy = (ours.healthy_secs, etcd.healthy_secs);
    vec![
        most("1 M keys: server CPU per put", |f| f.cpu_us, 0.5, 0.3),
        most("1 M keys: RSS after the load", |f| f.rss, 0.5, 0.2),
        most(
            "1 M keys: RSS after a restart",
            |f| f.rss_restarted,
            0.5,
            0.2,
        ),
        Check {
            goal: None,
            ..Check::ratio(
                "1 M keys: kill -9 to healthy",
                healthy.0,
                healthy.1,
                Limit::AtMost(0.3),
                Limit::AtMost(0.3),
            )
        },
        goal_alone("1 M keys: kill -9 to healthy", healthy.0, " s", 1.0),
        most(
            "1 M keys: page of 500 with exact count, p50",
            |f| f.page_p50,
            0.1,
            0.01,
        ),
        most(
            "1 M keys, random values: data directory",
            |f| f.disk,
            1.0,
            0.8,
        ),
    ]
}

fn json_checks(etcd: Option<&Figures>, ours: &Figures) -> Vec<Check> {
    let Some(etcd) = etcd else {
        return Vec::new();
    };
    vec![Check::ratio(
        "1 M keys, JSON: data directory",
        ours.disk,
        etcd.disk,
        Limit::AtMost(0.6),
        Limit::AtMost(0.4),
    )]
}

fn large_checks(_: Option<&Figures>, ours: &Figures) -> Vec<Check> {
    let most = |what: &str, value: f64, unit: &'static str, limit: f64| {
        Check::absolute(what, value, unit, Limit::AtMost(limit))
    };
    vec![
        most(
            "10 M keys: longest time without an answer",
            ours.gap,
            " ms",
            1000.0,
        ),
        most("10 M keys: longest put", ours.slowest, " ms", 1000.0),
        most(
            "10 M keys: RSS at its highest",
            ours.rss_peak,
            " MiB",
            300.0,
        ),
        most(
            "10 M keys: RSS after a restart",
            ours.rss_restarted,
            " MiB",
            300.0,
        ),
        most(
            "10 M keys: kill -9 to healthy",
            ours.healthy_secs,
            " s",
            1.0,
        ),
        most(
            "10 M keys: page of 500 with exact count, p50",
            ours.page_p50,
            " ms",
            5.0,
        ),
    ]
}

fn goal_alone(what: &str, value: f64, unit: &'static str, goal: f64) -> Check {
    Check {
        first: None,
        goal: Some(Limit::AtMost(goal)),
        ..Check::absolute(what, value, unit, Limit::AtMost(goal))
    }
}
