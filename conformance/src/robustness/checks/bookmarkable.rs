//! A notice of progress at a revision says that everything up to it was told before.

use super::super::story::Story;
use super::super::watching::Watch;
use crate::ledger::history::revision;

/// Notices that came too early, and those that go back.
#[must_use]
pub fn check(watch: &Watch, story: &Story) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut told, mut noticed) = (0, 0);
    let last = watch.first() - 1;
    for response in &watch.responses {
        if let Some(event) = response.events.first() {
            if revision(event) <= noticed {
                let at = revision(event);
                wrong.push(format!("{}: {at} after the notice of {noticed}", watch.who));
            }
            told += response.events.len();
            continue;
        }
        if response.revision < noticed {
            let at = response.revision;
            wrong.push(format!("{}: the notice of {at} after {noticed}", watch.who));
        }
        noticed = noticed.max(response.revision);
        let due = story.between(last + 1, response.revision);
        let due = due.filter(|event| watch.wish.wants(event)).count();
        if due > told {
            wrong.push(format!(
                "{}: the notice of {noticed} came after {told} of {due} events",
                watch.who
            ));
        }
    }
    wrong
}
