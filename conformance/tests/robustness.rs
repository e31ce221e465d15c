//! Traffic on three members that are killed, paused, cut off, slowed down, replaced; then
//! everything that clients may believe is checked.
//!
//! `STERNPOST_ROBUSTNESS_SECS` (default 240): runs are begun until then. `STERNPOST_FAULTS`
//! (default 5) in each, or their names: the same ones in every run. `STERNPOST_SEED` (default 1):
//! the first run's. A red run says which of these make it again.

use std::sync::Arc;
use std::time::{Duration, Instant};
use sternpost_conformance::cluster::Addresses;
use sternpost_conformance::disk::faults::Faults;
use sternpost_conformance::ledger::restarts::number;
use sternpost_conformance::network::Network;
use sternpost_conformance::robustness::fault::{self, Fault};
use sternpost_conformance::robustness::linearizable;
use sternpost_conformance::robustness::run::{self, Course, MEMBERS, Seen};
use sternpost_conformance::target::Kind;

#[test]
fn the_checker_knows_what_is_linearizable() {
    linearizable::test();
}

#[test]
fn whatever_happens_clients_may_believe_what_they_are_told() {
    let checker = linearizable::build();
    let begun = Instant::now();
    let limit = Duration::from_secs(number("STERNPOST_ROBUSTNESS_SECS", 240));
    let wanted = Wanted::read();
    let first = number("STERNPOST_SEED", 1);
    let network = Network::run(1, 0, |_| ());
    if let Err(why) = &network {
        Network::missing(why);
    }
    let disk = Faults::new();
    let kinds = fault::kinds(network.is_ok());
    let mut all = Vec::new();
    let mut seed = first;
    while seed == first || begun.elapsed() < limit {
        let dir = tempfile::Builder::new().prefix("robustness-").tempdir();
        let dir = dir.expect("the temporary directory is writable");
        let faults = wanted.faults(&kinds, first, seed);
        let outcome = on_a_network(network.is_ok(), seed, |addresses| {
            let course = Course {
                kind: Kind::Sternpost,
                checker: &checker,
                addresses,
                faults: faults.clone(),
                disk: &disk,
                dir: dir.path(),
            };
            let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
            runtime.block_on(run::run(&course, seed))
        });
        match outcome {
            Ok(seen) => report(seed, &faults, &seen),
            Err(wrong) => panic!(
                "STERNPOST_SEED={seed} STERNPOST_FAULTS={}, history kept in {}:\n{}",
                names(&faults),
                dir.keep().display(),
                wrong.join("\n")
            ),
        }
        all.extend(faults);
        seed += 1;
    }
    println!(
        "{} runs in {:.0?}, seeds {first}-{}, faults {:?}",
        seed - first,
        begun.elapsed(),
        seed - 1,
        run::counts(&all)
    );
}

/// Which faults runs have.
enum Wanted {
    Count(usize),
    Named(Vec<Fault>),
}

impl Wanted {
    fn read() -> Self {
        match std::env::var("STERNPOST_FAULTS") {
            Ok(names) if names.parse::<usize>().is_err() => Self::Named(fault::named(&names)),
            _ => {
                let count = number("STERNPOST_FAULTS", 5);
                Self::Count(usize::try_from(count).expect("faults are few"))
            }
        }
    }

    /// Runs share one sequence of faults, so that each kind comes as often as the others.
    fn faults(&self, kinds: &[Fault], first: u64, seed: u64) -> Vec<Fault> {
        let count = match self {
            Self::Count(count) => *count,
            Self::Named(faults) => return faults.clone(),
        };
        let skipped = usize::try_from(seed - first).expect("runs are few") * count;
        run::draw(kinds, skipped + count, first).split_off(skipped)
    }
}

fn names(faults: &[Fault]) -> String {
    let names: Vec<_> = faults.iter().map(|kind| format!("{kind:?}")).collect();
    names.join(",")
}

fn on_a_network<T: Send>(
    network: bool,
    seed: u64,
    scenario: impl FnOnce(Addresses) -> T + Send,
) -> T {
    if !network {
        return scenario(Addresses::loopback());
    }
    let members = u8::try_from(MEMBERS).expect("members are few");
    Network::run(members, seed, |network| {
        scenario(Addresses::Network(Arc::clone(network)))
    })
    .expect("there was one before")
}

fn report(seed: u64, faults: &[Fault], seen: &Seen) {
    println!("seed {seed}: {faults:?}: {seen:?}");
}
