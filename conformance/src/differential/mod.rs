//! The same seeded random operations to two servers, one after the other; every
//! answer, refusal, event and hash must be equal but for [`mask::MASKS`].

pub mod coverage;
pub mod generate;
pub mod inbox;
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

/// Runs `count` operations of a seed on two fresh servers.
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
    let mut sessions = [open(one).await, open(other).await];
    let names = [one.name(), other.name()];
    let mut generator = Generator::new(seed);
    let mut last = Vec::new();
    for number in 0..count {
        let op = generator.draw();
        step(
            seed,
            number,
            op,
            &mut sessions,
            names,
            &mut generator,
            coverage,
        )
        .await?;
        if number + 1 == count {
            last = generator.finish();
        }
    }
    for (number, op) in last.into_iter().enumerate() {
        let number = count + number;
        step(
            seed,
            number,
            op,
            &mut sessions,
            names,
            &mut generator,
            coverage,
        )
        .await?;
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
async fn step(
    seed: u64,
    number: usize,
    op: Op,
    sessions: &mut [Session; 2],
    names: [&'static str; 2],
    generator: &mut Generator,
    coverage: &mut Coverage,
) -> Result<(), Box<Difference>> {
    let [one, other] = sessions;
    let (left, right) = tokio::join!(one.run(&op), other.run(&op));
    let (left, right) = (mask::apply(&op, left), mask::apply(&op, right));
    let broken = matches!(&left, Reply::Settled(_, broken) if !broken.is_empty());
    if std::env::var_os("STERNPOST_TRACE").is_some() {
        println!("{number} {op:?} => {left:?}");
    }
    if left != right || broken {
        return Err(Box::new(Difference {
            seed,
            number,
            op,
            replies: [(names[0], left), (names[1], right)],
        }));
    }
    coverage.count(&op, &left);
    generator.observe(&op, &left);
    Ok(())
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
