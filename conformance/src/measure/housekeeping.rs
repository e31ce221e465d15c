//! Puts beside housekeeping: what a client notices of a defragment, a compaction, a hash
//! and of others' long ranges.

use super::budget::{Check, Limit, number};
use super::load::{self, Load};
use super::options::Options;
use super::paced::Paced;
use super::proc::Sampler;
use super::raw::Raw;
use super::report::Section;
use super::stats::median;
use super::values::{Content, Kind as Values};
use crate::client::Client;
use crate::target::{Kind, Plan, Target};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use sternpost_proto::etcdserverpb as pb;

const QUOTA_FLAG: &str = "--quota-backend-bytes=17179869184";
/// A million keys of a kilobyte: the store of a gigabyte.
const KEYS: u64 = 1_000_000;
const VALUE_BYTES: usize = 1024;
const CLIENTS: usize = 500;
/// Puts a second beside it all: the machine has room for them.
const RATE: u64 = 500;
const ALTERNATIONS: usize = 5;
/// Length of a window for what can be repeated at will.
const WINDOW_SECS: u64 = 10;
/// A window shorter than this has too few puts.
const WINDOW_MIN: Duration = Duration::from_secs(3);
/// Before each window.
const REST: Duration = Duration::from_secs(3);
/// What a compaction has to remove: so many old revisions of few keys.
const OVERWRITTEN_KEYS: u64 = 10_000;
const OVERWRITTEN_BYTES: usize = 100;
const LISTS: usize = 20;

/// What goes on beside the puts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Defragment,
    Compact,
    Hash,
    HashKv,
    Lists,
}

const WORKS: [Work; 5] = [
    Work::Defragment,
    Work::Compact,
    Work::Hash,
    Work::HashKv,
    Work::Lists,
];

impl Work {
    /// What `--only` calls it.
    fn option(self) -> &'static str {
        match self {
            Self::Defragment => "defragment",
            Self::Compact => "compact",
            Self::Hash => "hash",
            Self::HashKv => "hash-kv",
            Self::Lists => "lists",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Defragment => "defragment",
            Self::Compact => "compaction of a million revisions",
            Self::Hash => "Hash, again and again",
            Self::HashKv => "HashKV, again and again",
            Self::Lists => "20 lists of the whole store at once",
        }
    }
}

/// What the puts of one window met. Latencies in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Window {
    p50: f64,
    p999: f64,
    longest: f64,
    secs: f64,
    rss_peak: f64,
}

/// A window with the work, and one of the same length without it.
#[derive(Clone, Copy, Debug)]
struct Pair {
    busy: Window,
    quiet: Window,
    /// How often the work was done in it.
    times: u64,
}

struct Beside {
    kind: Kind,
    target: Target,
    content: Content,
    keys: u64,
    window: Duration,
    paced: Paced,
    sampler: Sampler,
}

type Figures = Vec<(Work, Vec<Pair>)>;

/// Those that are wanted, by themselves or with all; nothing when none is.
#[must_use]
pub async fn section(options: &Options) -> Option<Section> {
    let is_wanted = |work: &Work| options.wants(work.option()) || options.wants("housekeeping");
    let works: Vec<Work> = WORKS.into_iter().filter(is_wanted).collect();
    if works.is_empty() {
        return None;
    }
    let alternations = options.rounds.unwrap_or(ALTERNATIONS);
    // A list of all buffers the answer several times over in the reference: left out there.
    let etcd = if options.reference {
        let works = works.iter().filter(|work| **work != Work::Lists);
        measure(Kind::Etcd, options, works.copied().collect(), 1).await
    } else {
        Vec::new()
    };
    let ours = measure(Kind::Sternpost, options, works, alternations).await;
    let keys = options.keys.unwrap_or(KEYS);
    let mut text = format!(
        "{keys} keys with random values of {VALUE_BYTES} bytes, {} puts a second from a clock that does not wait, latency from \
         the time a put is due. Medians of {alternations} pairs of windows, one with the work and one as long without it \
         (etcd: one pair); in brackets the worst. Budgets are held to the median of the pairs' own ratios.\n\n\
         | work | server | window, s | done | p50 ms | p99.9 ms | longest put, ms | p50 without | p99.9 without | longest \
         without | RSS peak, MiB |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        options.rate.unwrap_or(RATE)
    );
    for (server, figures) in [("etcd", &etcd), ("Sternpost", &ours)] {
        for (work, pairs) in figures {
            row(&mut text, server, *work, pairs);
        }
    }
    Some(Section {
        title: "Puts beside housekeeping".to_owned(),
        text,
        checks: checks(&etcd, &ours),
    })
}

async fn measure(kind: Kind, options: &Options, works: Vec<Work>, alternations: usize) -> Figures {
    let beside = Beside::start(kind, options).await;
    let mut figures = Vec::new();
    for work in works {
        let mut pairs = Vec::new();
        for _ in 0..alternations {
            let pair = beside.alternate(work).await;
            println!("{}: {work:?}: {pair:.1?}", kind.name());
            pairs.push(pair);
        }
        figures.push((work, pairs));
    }
    let _all_answered = beside.paced.finish().await;
    figures
}

impl Beside {
    async fn start(kind: Kind, options: &Options) -> Self {
        let target = Plan::new(kind).flag(QUOTA_FLAG).start();
        let keys = options.keys.unwrap_or(KEYS);
        let content = Content {
            kind: Values::Random,
            bytes: VALUE_BYTES,
            seed: 4,
        };
        let load = Load {
            content,
            first: 0,
            puts: keys,
            keys,
            clients: CLIENTS,
        };
        let loaded = load::run(&target, load).await;
        assert_eq!(loaded.accepted, keys, "the quota is large enough");
        load::settle(&target).await;
        // Scattered over the key space, and other values than before.
        let make = move |number: u64| pb::PutRequest {
            key: content
                .key(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % keys)
                .into(),
            value: content.value(number + keys).into(),
            ..Default::default()
        };
        let paced = Paced::start(&target, options.rate.unwrap_or(RATE), Arc::new(make)).await;
        Self {
            kind,
            sampler: Sampler::start(target.pid()),
            target,
            content,
            keys,
            window: Duration::from_secs(options.secs.unwrap_or(WINDOW_SECS)),
            paced,
        }
    }

    async fn alternate(&self, work: Work) -> Pair {
        if work == Work::Compact {
            self.overwrite().await;
        }
        tokio::time::sleep(REST).await;
        let _before = self.sampler.take_peak_mib();
        let from = Instant::now();
        let times = self.work(work).await;
        tokio::time::sleep(WINDOW_MIN.saturating_sub(from.elapsed())).await;
        let busy = self.window(from, Instant::now()).await;
        tokio::time::sleep(REST).await;
        let _before = self.sampler.take_peak_mib();
        let from = Instant::now();
        let to = from + Duration::from_secs_f64(busy.secs);
        tokio::time::sleep(to - from).await;
        let quiet = self.window(from, to).await;
        Pair { busy, quiet, times }
    }

    async fn window(&self, from: Instant, to: Instant) -> Window {
        let mut latencies = self.paced.window(from, to).await;
        Window {
            p50: latencies.quantile_ms(0.5),
            p999: latencies.quantile_ms(0.999),
            longest: latencies.max_ms(),
            secs: (to - from).as_secs_f64(),
            rss_peak: self.sampler.take_peak_mib(),
        }
    }

    /// How often it was done.
    async fn work(&self, work: Work) -> u64 {
        let mut client = self.target.client().await;
        if work == Work::Lists {
            return self.lists().await;
        }
        let end = Instant::now() + self.window;
        let mut times = 0;
        loop {
            once(work, &mut client).await;
            times += 1;
            // Done twice, the second finds nothing to do.
            let single = matches!(work, Work::Defragment | Work::Compact);
            if single || Instant::now() >= end {
                return times;
            }
        }
    }

    /// Always so many at once, until the window is over; counts those that came to their end.
    async fn lists(&self) -> u64 {
        let request = pb::RangeRequest {
            key: self.content.key(0).into(),
            range_end: self.content.end().into(),
            ..Default::default()
        };
        let list = List {
            endpoint: self.target.endpoint().to_owned(),
            request,
            least: self.keys * VALUE_BYTES as u64,
            end: tokio::time::Instant::now() + self.window,
        };
        let mut lists = Vec::new();
        for _ in 0..LISTS {
            let list = list.clone();
            lists.push(tokio::task::spawn_blocking(move || list.read_all()));
        }
        let mut times = 0;
        for list in lists {
            times += list.await.expect("no list fails");
        }
        times
    }

    /// Makes a million revisions that a compaction may remove.
    async fn overwrite(&self) {
        let load = Load {
            content: Content {
                kind: Values::Json,
                bytes: OVERWRITTEN_BYTES,
                seed: 5,
            },
            first: 0,
            puts: self.keys,
            keys: OVERWRITTEN_KEYS.min(self.keys),
            clients: CLIENTS,
        };
        let loaded = load::run(&self.target, load).await;
        assert_eq!(loaded.accepted, self.keys, "{}: not full", self.kind.name());
    }
}

/// Whoever lists is a client elsewhere: here, where it shares the cores with
/// the server and with whoever puts, it goes last.
const LISTING_NICE: libc::c_int = 10;

/// A list that is asked for again and again.
#[derive(Clone)]
struct List {
    endpoint: String,
    request: pb::RangeRequest,
    /// Bytes of a whole answer, at least.
    least: u64,
    end: tokio::time::Instant,
}

impl List {
    /// Reads on a thread of its own; counts the answers that came to their end.
    fn read_all(self) -> u64 {
        // SAFETY: it takes and returns numbers; 0 means this thread.
        let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, LISTING_NICE) };
        assert_eq!(done, 0, "a thread may always be nicer");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        runtime.block_on(async {
            let mut raw = Raw::connect(&self.endpoint).await;
            let mut times = 0;
            while let Ok(bytes) = tokio::time::timeout_at(self.end, raw.range(&self.request)).await
            {
                let bytes = bytes.expect("a list is answered");
                assert!(bytes > self.least, "a list of {bytes} bytes is not whole");
                times += 1;
            }
            times
        })
    }
}

async fn once(work: Work, client: &mut Client) {
    match work {
        Work::Defragment => {
            let answer = client.maintenance.defragment(pb::DefragmentRequest {});
            answer.await.expect("it defragments");
        }
        Work::Compact => {
            let status = client.maintenance.status(pb::StatusRequest {}).await;
            let header = status.expect("status is answered").into_inner().header;
            let request = pb::CompactionRequest {
                revision: header.expect("an answer has a header").revision,
                physical: true,
            };
            client.kv.compact(request).await.expect("it compacts");
        }
        Work::Hash => {
            let answer = client.maintenance.hash(pb::HashRequest {});
            answer.await.expect("it hashes");
        }
        Work::HashKv => {
            let answer = client
                .maintenance
                .hash_kv(pb::HashKvRequest { revision: 0 });
            answer.await.expect("it hashes");
        }
        Work::Lists => unreachable!("lists are many at once"),
    }
}

fn row(text: &mut String, server: &str, work: Work, pairs: &[Pair]) {
    let cell = |of: &dyn Fn(&Pair) -> f64| {
        let all: Vec<f64> = pairs.iter().map(of).collect();
        let worst = all.iter().copied().fold(0.0, f64::max);
        if pairs.len() > 1 {
            format!("{} ({})", number(median(&all)), number(worst))
        } else {
            number(worst)
        }
    };
    let _ = writeln!(
        text,
        "| {} | {server} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        work.name(),
        number(middle(pairs, |pair| pair.busy.secs)),
        pairs.iter().map(|pair| pair.times).sum::<u64>(),
        number(middle(pairs, |pair| pair.busy.p50)),
        cell(&|pair| pair.busy.p999),
        cell(&|pair| pair.busy.longest),
        number(middle(pairs, |pair| pair.quiet.p50)),
        cell(&|pair| pair.quiet.p999),
        cell(&|pair| pair.quiet.longest),
        number(middle(pairs, |pair| pair.busy.rss_peak)),
    );
}

fn middle(pairs: &[Pair], of: fn(&Pair) -> f64) -> f64 {
    median(&pairs.iter().map(of).collect::<Vec<_>>())
}

fn checks(etcd: &Figures, ours: &Figures) -> Vec<Check> {
    let mut checks = Vec::new();
    let limit = Limit::AtMost(1.5);
    for (work, pairs) in ours {
        let name = work.name();
        // Each window beside its neighbour: a disk has bad minutes of its own.
        let with = |of: fn(&Window) -> f64| {
            let ratio = |pair: &Pair| of(&pair.busy) / of(&pair.quiet);
            median(&pairs.iter().map(ratio).collect::<Vec<_>>())
        };
        checks.push(Check::absolute(
            &format!("{name}: p99.9 beside the same window without"),
            with(|window| window.p999),
            "x",
            limit,
        ));
        checks.push(Check {
            goal: (*work == Work::Defragment).then_some(limit),
            ..Check::absolute(
                &format!("{name}: longest put beside the same window without"),
                with(|window| window.longest),
                "x",
                limit,
            )
        });
        let theirs = etcd.iter().find(|(theirs, _)| theirs == work);
        if let (Some((_, theirs)), Work::Defragment) = (theirs, work) {
            checks.push(Check::absolute(
                "defragment: longest put beside etcd's",
                middle(pairs, |pair| pair.busy.longest) / middle(theirs, |pair| pair.busy.longest),
                "x",
                Limit::AtMost(0.03),
            ));
        }
    }
    checks
}
