//! Nothing is left out, and nothing made up.

use super::super::story::{Story, without_previous};
use super::super::watching::Watch;
use crate::ledger::history::revision;
use sternpost_proto::mvccpb::Event;

/// Where what was told leaves what has happened.
#[must_use]
pub fn check(watch: &Watch, story: &Story) -> Vec<String> {
    let told: Vec<Event> = watch.events().map(without_previous).collect();
    let Some(last) = told.last().map(revision) else {
        return Vec::new();
    };
    let happened: Vec<&Event> = story
        .between(watch.first(), last)
        .filter(|event| watch.wish.wants(event))
        .collect();
    let same = told
        .iter()
        .zip(&happened)
        .take_while(|(told, happened)| *told == **happened);
    let at = same.count();
    if at == told.len() && at == happened.len() {
        return Vec::new();
    }
    vec![format!(
        "{}: told {:?}, and what happened is {:?}",
        watch.who,
        told.get(at),
        happened.get(at)
    )]
}
