//! The same seeded random operations to two servers, one after the other; every
//! answer, refusal, event and hash must be equal but for [`mask::MASKS`].

pub mod coverage;
pub mod generate;
pub mod inbox;
mod large;
pub mod mask;
pub mod op;
pub mod session;
mod ties;
pub mod watch;

use crate::target::Target;
use coverage::Coverage;
use generate::Generator;
use op::{Op, Reply};
use session::Session;
use std::fmt::Write as _;

/// Longer prints hide more than they show.
const PRINT_MAX: usize = 6000;

/// Where two servers parted.
pub struct Difference {
    seed: u64,
    number: usize,
    op: Op,
    replies: [(&'static str, Reply); 2],
}

impl Difference {
    /// All one needs to see it again.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = format!(
            "seed {} operation {} ({}):\n{}\n",
            self.seed,
            self.number,
            self.op.kind(),
            cut(&format!("{:#?}", self.op))
        );
        let [(one, left), (other, right)] = &self.replies;
        let (left, right) = shown(left, right);
        let _ = writeln!(text, "--- {one} answers:\n{}", cut(&left));
        let _ = writeln!(text, "--- {other} answers:\n{}", cut(&right));
        let _ = write!(
            text,
            "--- again: STERNPOST_SEEDS={} STERNPOST_OPS={} cargo test -p sternpost-conformance --test differential -- --nocapture sternpost_does",
            self.seed,
            self.number + 1
        );
        text
    }
}

/// Runs `count` operations of a seed on two fresh servers, and what its generator
/// wants to see at the end.
///
/// # Errors
/// The first difference.
///
/// # Panics
/// When a server refuses a watch stream.
pub async fn run(
    seed: u64,
    count: usize,
    targets: [&Target; 2],
    coverage: &mut Coverage,
) -> Result<(), Box<Difference>> {
    let [one, other] = targets;
    let mut run = Run {
        seed,
        number: 0,
        sessions: [open(one).await, open(other).await],
        names: [one.name(), other.name()],
        generator: Generator::new(seed),
        coverage,
        trace: std::env::var_os("STERNPOST_TRACE").is_some(),
    };
    for _ in 0..count {
        let op = run.generator.draw();
        run.step(op).await?;
    }
    while let Some(op) = run.generator.begun() {
        run.step(op).await?;
    }
    for op in run.generator.finish() {
        run.step(op).await?;
    }
    Ok(())
}

/// A seed on its way.
struct Run<'c> {
    seed: u64,
    number: usize,
    sessions: [Session; 2],
    names: [&'static str; 2],
    generator: Generator,
    coverage: &'c mut Coverage,
    trace: bool,
}

impl Run<'_> {
    /// One operation on both servers at once, and the comparison.
    async fn step(&mut self, op: Op) -> Result<(), Box<Difference>> {
        let [one, other] = &mut self.sessions;
        let (left, right) = tokio::join!(one.run(&op), other.run(&op));
        let (left, right) = (mask::apply(&op, left), mask::apply(&op, right));
        if self.trace {
            println!("{} {} {op:?} => {left:?}", self.seed, self.number);
        }
        let broken =
            |reply: &Reply| matches!(reply, Reply::Settled(_, broken) if !broken.is_empty());
        if left != right || broken(&left) {
            return Err(Box::new(Difference {
                seed: self.seed,
                number: self.number,
                op,
                replies: [(self.names[0], left), (self.names[1], right)],
            }));
        }
        self.coverage.count(&op, &left, self.generator.now());
        self.generator.observe(&op, &left);
        self.number += 1;
        Ok(())
    }
}

async fn open(target: &Target) -> Session {
    let session = Session::open(target.client().await).await;
    session.unwrap_or_else(|status| panic!("{} refuses a watch stream: {status}", target.name()))
}

/// Of many events only those that differ, side by side by their place.
fn shown(left: &Reply, right: &Reply) -> (String, String) {
    let (Reply::Settled(one, broken_one), Reply::Settled(other, broken_other)) = (left, right)
    else {
        return (format!("{left:#?}"), format!("{right:#?}"));
    };
    let mut texts = (format!("{broken_one:#?}\n"), format!("{broken_other:#?}\n"));
    for (mine, theirs) in one.iter().zip(other) {
        for place in 0..mine.events.len().max(theirs.events.len()) {
            let (left, right) = (mine.events.get(place), theirs.events.get(place));
            if left != right {
                let place = format!(
                    "stream {} watch {} event {place}",
                    mine.stream, mine.watch_id
                );
                let _ = writeln!(texts.0, "{place}: {left:?}");
                let _ = writeln!(texts.1, "{place}: {right:?}");
            }
        }
    }
    texts
}

fn cut(text: &str) -> String {
    if text.len() <= PRINT_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(PRINT_MAX);
    format!("{} ... ({} bytes)", &text[..end], text.len())
}
