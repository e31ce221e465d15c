//! A watch ends with the revision of a compaction if it is to tell what that has taken, and never
//! otherwise: what is left begins at that revision.

use super::super::watching::Watch;
use super::compactions::Compactions;

/// An end by a compaction that nobody asked for, or that has taken nothing from it.
#[must_use]
pub fn check(watch: &Watch, compactions: &Compactions<'_>) -> Vec<String> {
    let Some(behind) = watch.behind else {
        return Vec::new();
    };
    let mut wrong = Vec::new();
    let (who, due) = (&watch.who, watch.due());
    // What was said of progress does not count: a member that is sent a whole state forgets
    // how far it was with watches that had nothing to be told, as etcd's do.
    if behind.compacted <= due {
        wrong.push(format!(
            "{who}: from {due} on all is left, told was {behind:?}"
        ));
    }
    if !compactions.may_be_at(behind.compacted, behind.at) {
        wrong.push(format!(
            "{who}: nobody has compacted there, told was {behind:?}"
        ));
    }
    wrong
}
