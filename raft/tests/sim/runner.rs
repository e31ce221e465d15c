//! Runs seeds, each in a process of its own: what a process draws once (the
//! order of hashed maps, the first numbers of tokio) follows from the seed
//! then, and not from which seeds ran before.

use crate::{host, trace::Shown, world::World};
use parking_lot::Mutex;
use std::{
    env,
    process::{Command, Stdio},
    thread,
};

/// Seeds of every run.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=200;

/// Set: a seed's events are printed as they happen; `messages`: these as well.
const SHOWN: &str = "STERNPOST_SIMULATE_SHOW";

/// How one seed went.
#[derive(Clone, Debug)]
pub struct Run {
    pub seed: u64,
    pub trace: String,
    pub messages: u64,
    pub answers: u64,
    pub wrong: Option<String>,
}

impl Run {
    pub fn report(&self) -> String {
        let wrong = self.wrong.as_deref().unwrap_or_default();
        let seed = self.seed;
        format!("seed {seed} wrong: {wrong}\n  again: make sim SEED={seed}")
    }
}

/// The seeds to run: `SEEDS=17` or `SEEDS=1-2000`.
pub fn seeds() -> Vec<u64> {
    let Ok(given) = env::var("SEEDS") else {
        return SEEDS.collect();
    };
    let number = |text: &str| text.trim().parse::<u64>().unwrap();
    match given.split_once('-') {
        Some((first, last)) => (number(first)..=number(last)).collect(),
        None => vec![number(&given)],
    }
}

fn shown() -> Shown {
    match env::var(SHOWN).as_deref() {
        Err(_) => Shown::Nothing,
        Ok("messages") => Shown::Messages,
        Ok(_) => Shown::Events,
    }
}

/// In a process that simulates: lives the seed through, and says how it went.
pub fn child() {
    let Ok(seed) = env::var(host::SEED) else {
        return;
    };
    let seed: u64 = seed.parse().unwrap();
    host::seed_thread(seed);
    host::set_time(0);
    let outcome = World::new(seed, shown()).run();
    let wrong = outcome.wrong.unwrap_or_default().replace('\n', " ");
    println!(
        "\noutcome {:016x} {} {} {} {} {wrong}",
        outcome.trace, outcome.events, outcome.messages, outcome.answers, outcome.entries
    );
}

/// Runs all, as many at once as there are processors; in the order given.
pub fn run_all(seeds: &[u64]) -> Vec<Run> {
    let next = Mutex::new(0);
    let runs = Mutex::new(vec![None; seeds.len()]);
    let lanes = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                loop {
                    let at = {
                        let mut next = next.lock();
                        *next += 1;
                        *next - 1
                    };
                    if at >= seeds.len() {
                        return;
                    }
                    let run = run(seeds[at]);
                    runs.lock()[at] = Some(run);
                }
            });
        }
    });
    runs.into_inner()
        .into_iter()
        .map(|run| run.unwrap())
        .collect()
}

fn run(seed: u64) -> Run {
    let output = Command::new(env::current_exe().unwrap())
        .args(["one_seed", "--exact", "--nocapture", "--test-threads=1"])
        .env(host::SEED, seed.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if env::var_os(SHOWN).is_some() {
        println!("{text}");
    }
    let line = text.lines().find_map(|line| line.strip_prefix("outcome "));
    let fields: Vec<&str> = line.unwrap_or_default().splitn(6, ' ').collect();
    let [trace, _events, messages, answers, _entries, wrong] = fields[..] else {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = errors
            .lines()
            .filter(|line| line.contains("panicked") || line.contains("fatal"))
            .collect();
        return Run {
            seed,
            trace: String::new(),
            messages: 0,
            answers: 0,
            wrong: Some(format!(
                "the process ended with {}: {last:?}\n{errors}",
                output.status
            )),
        };
    };
    let wrong = wrong.trim();
    Run {
        seed,
        trace: trace.to_owned(),
        messages: messages.parse().unwrap(),
        answers: answers.parse().unwrap(),
        wrong: (!wrong.is_empty()).then(|| wrong.to_owned()),
    }
}
