//! Where events are put into queues: new ones as they are published, old ones
//! in turns of history.

use super::Delivery;
use crate::watch::{
    encode::{EventBatch, Notice, Payload, Response},
    registry::{Form, Watch, WatcherKey},
    session::End,
};
use std::{collections::HashMap, sync::Arc};
use sternpost_raft::Published;
use sternpost_storage::{Event, ReadView, RevisionEvents};

/// Payloads by form and first event, so that watchers that need the same
/// bytes share them.
type Memo = Vec<((Form, usize), Payload)>;

impl Delivery {
    /// Delivers one applied chunk to the synced watchers.
    pub fn publish(&mut self, published: &Published) {
        for events in &published.revisions {
            if events.revision > self.matched {
                self.deliver(events, &published.view);
                self.matched = events.revision;
            }
        }
        self.advance_to(published.view.revision());
    }

    /// New events begin after `revision`, whatever was seen before: the feed
    /// was entered there, or this hub fell behind it.
    pub fn skip_to(&mut self, revision: i64) {
        let missed_from = self.matched + 1;
        for key in self.registry.all_synced() {
            let next = self.registry.get(key).watch.next_revision.max(missed_from);
            if next <= revision {
                self.registry.advance(key, next);
                self.registry.set_catching_up(key);
            }
        }
        self.advance_to(revision);
    }

    fn advance_to(&mut self, revision: i64) {
        self.matched = self.matched.max(revision);
        let mut waiting = std::mem::take(&mut self.awaiting_progress);
        waiting.retain(|key| {
            let session = &mut self.sessions[*key as usize];
            if session
                .awaited_progress
                .is_some_and(|awaited| awaited > self.matched)
            {
                return true;
            }
            session.awaited_progress = None;
            self.answer_progress(*key);
            false
        });
        self.awaiting_progress = waiting;
    }

    fn deliver(&mut self, events: &Arc<RevisionEvents>, view: &ReadView) {
        let revision = events.revision;
        let mut batch = EventBatch::new(
            view,
            events.events.iter().collect(),
            self.limits.fragment_bytes,
        );
        let mut members = std::mem::take(&mut self.members);
        for (group, hits) in self.registry.match_synced(batch.events()) {
            let mut memo = Memo::new();
            self.registry.synced_members(group, &mut members);
            for key in &members {
                if !self.send(*key, &mut batch, &hits, revision, &mut memo) {
                    self.registry.advance(*key, revision);
                    self.stall(*key);
                }
            }
        }
        self.members = members;
    }

    /// Queues the events of `hits` that a watcher has not seen yet. False if
    /// there is no room for them.
    fn send(
        &mut self,
        key: WatcherKey,
        batch: &mut EventBatch<'_>,
        hits: &[u32],
        revision: i64,
        memo: &mut Memo,
    ) -> bool {
        let watch = &self.registry.get(key).watch;
        let (session, watch_id, form) = (watch.session, watch.id, watch.form);
        let first = batch.first_from(hits, watch.next_revision);
        let known = memo.iter().position(|(which, _)| *which == (form, first));
        let index = match known {
            Some(index) => index,
            None => match batch.encode(&hits[first..], form) {
                Ok(payload) => {
                    memo.push(((form, first), payload));
                    memo.len() - 1
                }
                Err(fault) => {
                    tracing::error!(%fault, "watch events can't be read; the stream ends");
                    self.sessions[session as usize].end(End::Fault);
                    return true;
                }
            },
        };
        let payload = &memo[index].1;
        let Some(last) = payload.parts.len().checked_sub(1) else {
            return true;
        };
        if !self.has_room(session) {
            return false;
        }
        for (number, part) in payload.parts.iter().enumerate() {
            let response = Response::Events {
                revision,
                watch_id,
                fragment: number < last,
                events: part.clone(),
            };
            let events = if number == last { payload.events } else { 0 };
            self.queue(session, response, events);
        }
        self.registry.get_mut(key).quiet = false;
        true
    }

    /// Whether a watcher waits for history.
    pub fn wants_history(&self) -> bool {
        self.registry.has_turns()
    }

    /// Cancels the watchers in line that need what is compacted.
    pub fn cancel_compacted(&mut self, compact_revision: i64) {
        for watcher in self.registry.catching_up_in(i64::MIN, compact_revision - 1) {
            let Watch { session, id, .. } = self.registry.get(watcher).watch;
            self.forget(session, id);
            let notice = Notice {
                watch_id: id,
                canceled: true,
                compact_revision,
                ..Notice::default()
            };
            self.notify(session, notice);
        }
    }

    /// The revision from which history is wanted next. No watcher may need
    /// more than there is: see [`Delivery::cancel_compacted`].
    pub fn next_turn(&mut self) -> Option<i64> {
        let watcher = self.registry.next_turn()?;
        Some(self.registry.get(watcher).watch.next_revision)
    }

    /// Delivers what was read back: all revisions of `view` from `from` to
    /// the last one in `history`, to the end of `view` if that is empty.
    /// Watchers that lack nothing after it are synced.
    pub fn catch_up(&mut self, from: i64, history: &[RevisionEvents], view: &ReadView) {
        let to = history.last().map_or(view.revision(), |last| last.revision);
        let due = self.registry.catching_up_in(from, to);
        let events: Vec<&Event> = history
            .iter()
            .flat_map(|revision| &revision.events)
            .collect();
        let mut batch = EventBatch::new(view, events, self.limits.fragment_bytes);
        let hits = self.registry.match_catching_up(batch.events());
        let mut hits: HashMap<_, _> = hits
            .into_iter()
            .map(|(group, hits)| (group, (hits, Memo::new())))
            .collect();
        for key in due {
            let group = self
                .registry
                .catching_up_group(key)
                .expect("due watchers catch up");
            if let Some((hits, memo)) = hits.get_mut(&group)
                && !self.send(key, &mut batch, hits, view.revision(), memo)
            {
                self.stall(key);
                continue;
            }
            self.registry.advance(key, to + 1);
            if to >= self.matched {
                self.registry.set_synced(key);
            }
        }
    }
}
