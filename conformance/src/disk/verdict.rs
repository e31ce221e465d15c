//! What a server makes of a damaged copy of its data.

use super::answers::{Answers, compare};
use super::dataset::{Copy, Dataset};
use crate::target::Target;
use crate::wait;
use std::fmt;
use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;
use tonic::{Code, Status};

/// Questions whose answers change with the writes that follow.
const CHANGING: [&str; 2] = ["range at 0", "leases"];

/// The line may be on its way to us still.
const LOG_LIMIT: Duration = Duration::from_secs(20);

/// How it ended; never with a wrong answer.
#[derive(Debug)]
pub enum Verdict {
    /// It did not start, and said this last.
    Refused(String),
    /// It ended while it was read or written, and said this last.
    Stopped(String),
    /// So many questions were answered by an error; the log says this of the first.
    Errors(usize, String),
    /// Everything was answered, and right.
    Harmless,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(line) => write!(f, "refused: {line}"),
            Self::Stopped(line) => write!(f, "stopped: {line}"),
            Self::Errors(count, line) => write!(f, "{count} errors: {line}"),
            Self::Harmless => f.write_str("harmless"),
        }
    }
}

impl Verdict {
    /// What an operator reads.
    #[must_use]
    pub fn line(&self) -> &str {
        match self {
            Self::Refused(line) | Self::Stopped(line) | Self::Errors(_, line) => line,
            Self::Harmless => "",
        }
    }
}

/// Starts a server on the copy, reads everything, writes every key, has all files rewritten, and
/// reads again.
///
/// # Errors
/// A wrong answer.
pub async fn judge(dataset: &Dataset, copy: &Copy) -> Result<Verdict, String> {
    let mut target = match copy.plan().try_start() {
        Ok(target) => target,
        Err(log) => return Ok(Verdict::Refused(last_line(&log))),
    };
    let first = dataset.read(&target).await;
    if let Some(verdict) = judge_answers(&first, dataset.right(), &mut target)? {
        return Ok(verdict);
    }
    match work(dataset, &target).await? {
        Ok(()) => {}
        Err(status) => return Ok(faulty(&status, 1, &mut target)),
    }
    let mut right = dataset.right().clone();
    let mut second = dataset.read(&target).await;
    for question in CHANGING {
        right.remove(question);
        second.remove(question);
    }
    let verdict = judge_answers(&second, &right, &mut target)?;
    Ok(verdict.unwrap_or(Verdict::Harmless))
}

fn judge_answers(
    found: &Answers,
    right: &Answers,
    target: &mut Target,
) -> Result<Option<Verdict>, String> {
    let error = found.values().find_map(|answer| answer.as_ref().err());
    let verdict = error.map(|status| faulty(status, 0, target));
    let ended = matches!(verdict, Some(Verdict::Stopped(_)));
    let errors = compare(found, right, ended)?;
    Ok(verdict.map(|verdict| match verdict {
        Verdict::Errors(_, line) => Verdict::Errors(errors, line),
        other => other,
    }))
}

/// An error means that the process has ended, or that the log says more.
fn faulty(status: &Status, errors: usize, target: &mut Target) -> Verdict {
    if matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled
    ) {
        let (_, line) = target.wait_end();
        return Verdict::Stopped(line);
    }
    let said = wait::until("the log says why an answer is an error", LOG_LIMIT, || {
        let log = target.log_text();
        let mut lines = log.lines();
        let said = lines.find(|line| line.contains("stored data can't be read"));
        said.map(str::to_owned)
    });
    Verdict::Errors(errors, said)
}

/// Writes each key, which must have been what it was, and has all files rewritten.
async fn work(dataset: &Dataset, target: &Target) -> Result<Result<(), Status>, String> {
    let mut client = target.client().await;
    for (key, value) in dataset.newest() {
        let request = pb::PutRequest {
            key: key.clone(),
            value: "new".into(),
            prev_kv: true,
            ..Default::default()
        };
        match client.kv.put(request).await {
            Ok(reply) => {
                let before = reply.into_inner().prev_kv.unwrap_or_default();
                if before.value != *value {
                    return Err(format!("{key:?} was {before:?}"));
                }
            }
            Err(status) => return Ok(Err(status)),
        }
    }
    let request = pb::DefragmentRequest {};
    Ok(client.maintenance.defragment(request).await.map(|_| ()))
}

fn last_line(log: &str) -> String {
    log.lines().last().unwrap_or_default().to_owned()
}
