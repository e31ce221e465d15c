//! Watchers: what each asked for, and every response it was sent.

use super::record::Record;
use crate::client::Client;
use crate::ledger::history::revision;
use rand::RngExt;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;
use sternpost_proto::mvccpb::Event;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;

/// How often a watcher asks how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(150);
/// A stream that brings nothing for so long is given up, and the watch is made again.
const SILENCE: Duration = Duration::from_secs(2);
/// A member that refuses at once is left alone for so long.
const BREATH: Duration = Duration::from_millis(50);
/// Between two looks back.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Watches of the past begin so far back: some of it is compacted, and some is not.
const BACK: i64 = 100;
/// Requests on their way on one stream.
const REQUESTS: usize = 4;

/// What a watch asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Keys that begin so; all when empty.
    pub prefix: String,
    /// From this revision; 0: from now.
    pub start: i64,
    /// With the key as it was before.
    pub previous: bool,
    /// Deletions only.
    pub no_puts: bool,
}

impl Wish {
    /// Everything from a revision on.
    #[must_use]
    pub fn everything(start: i64) -> Self {
        Self {
            start,
            previous: true,
            ..Self::default()
        }
    }

    /// Whether every change is wanted.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.prefix.is_empty() && !self.no_puts
    }

    /// Whether an event of this key is wanted.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        let begins = super::story::key(event).starts_with(self.prefix.as_bytes());
        begins && !(self.no_puts && super::story::is_put(event))
    }
}

/// One response: events, or none: how far it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// When it came, in nanoseconds since the run's beginning.
    pub at: u64,
    /// The revision in its header.
    pub revision: i64,
    /// What has changed.
    pub events: Vec<Event>,
}

/// The end of a watch that was to tell what is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The compaction it has told.
    pub compacted: i64,
    /// When it came, in nanoseconds since the run's beginning.
    pub at: u64,
}

/// One watch from its creation to its end.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Who was asked, for reports.
    pub who: String,
    /// What was asked for.
    pub wish: Wish,
    /// The revision in the answer to its creation; 0 when there was none.
    pub created: i64,
    /// All that followed.
    pub responses: Vec<Response>,
    /// How it ended, if a compaction ended it.
    pub behind: Option<Behind>,
}

impl Watch {
    /// All events in the order they came.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.responses.iter().flat_map(|response| &response.events)
    }

    /// The first revision it is to be told of.
    #[must_use]
    pub fn first(&self) -> i64 {
        match self.wish.start {
            0 => self.created + 1,
            start => start,
        }
    }

    /// The last revision of which it was told, by an event or by a notice of progress.
    #[must_use]
    pub fn last(&self) -> i64 {
        let told = self
            .responses
            .iter()
            .map(|response| match response.events.last() {
                Some(event) => revision(event),
                None => response.revision,
            });
        told.max().unwrap_or(0)
    }

    /// The first revision of which it may not have been told yet, whatever was said of progress.
    #[must_use]
    pub fn due(&self) -> i64 {
        let last = self.events().last().map(revision);
        last.map_or(self.first(), |last| last + 1)
    }

    /// Writes down what came.
    pub fn take_in(&mut self, answer: pb::WatchResponse, at: u64) {
        let revision = answer.header.map_or(0, |header| header.revision);
        if answer.canceled {
            let compacted = answer.compact_revision;
            self.behind = (compacted > 0).then_some(Behind { compacted, at });
        } else if answer.created {
            self.created = revision;
        } else {
            self.responses.push(Response {
                at,
                revision,
                events: answer.events,
            });
        }
    }

    /// Where a client goes on when it has ended: behind the last event, or with what is left by
    /// the compaction that ended it. A watch from now on that has not begun begins again.
    fn next(&self) -> i64 {
        match self.behind {
            Some(behind) => behind.compacted,
            None if self.wish.start == 0 && self.created == 0 => 0,
            None => self.due(),
        }
    }
}

/// Watches a member until it is aborted; a broken stream is resumed behind the last event.
pub async fn follow(client: Client, who: String, mut wish: Wish, record: Arc<Record>) {
    loop {
        let number = watch(client.clone(), &who, &wish, &record, |_| false).await;
        wish.start = record.watches()[number].next();
        tokio::time::sleep(BREATH).await;
    }
}

/// Watches everything from some recent revision to what is the newest then, again and again,
/// until it is aborted.
pub async fn look_back(client: Client, who: String, mut rng: StdRng, record: Arc<Record>) {
    loop {
        let newest = record.newest();
        let wish = Wish::everything((newest - rng.random_range(0..BACK)).max(1));
        let enough = |watch: &Watch| watch.last() >= newest;
        watch(client.clone(), &who, &wish, &record, enough).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// One watch until its stream ends, or what it has told is enough; its number.
pub async fn watch(
    client: Client,
    who: &str,
    wish: &Wish,
    record: &Record,
    enough: impl Fn(&Watch) -> bool,
) -> usize {
    let number = record.begin(who, wish);
    let note = |answer| {
        record.take_in(number, answer);
        !enough(&record.watches()[number])
    };
    one_stream(client, wish, note).await;
    number
}

/// One stream until it breaks, is silent, or `note` wants no more.
async fn one_stream(
    mut client: Client,
    wish: &Wish,
    mut note: impl FnMut(pb::WatchResponse) -> bool,
) {
    let (requests, receiver) = mpsc::channel(REQUESTS);
    let create = RequestUnion::CreateRequest(create(wish));
    if requests.send(request(create)).await.is_err() {
        return;
    }
    let answer = client.watch.watch(ReceiverStream::new(receiver));
    let Ok(Ok(answer)) = tokio::time::timeout(SILENCE, answer).await else {
        return;
    };
    let mut answers = answer.into_inner();
    let mut progress = tokio::time::interval(PROGRESS_EVERY);
    let mut silent_at = Instant::now() + SILENCE;
    loop {
        tokio::select! {
            _ = progress.tick() => {
                let ask = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
                let _ = requests.try_send(request(ask));
            }
            answer = answers.message() => {
                let Ok(Some(answer)) = answer else { return };
                silent_at = Instant::now() + SILENCE;
                let canceled = answer.canceled;
                if !note(answer) || canceled {
                    return;
                }
            }
            () = tokio::time::sleep_until(silent_at) => return,
        }
    }
}

fn create(wish: &Wish) -> pb::WatchCreateRequest {
    let (key, range_end) = range(&wish.prefix);
    pb::WatchCreateRequest {
        key: key.into(),
        range_end: range_end.into(),
        start_revision: wish.start,
        prev_kv: wish.previous,
        filters: match wish.no_puts {
            true => vec![FilterType::Noput as i32],
            false => Vec::new(),
        },
        progress_notify: true,
        ..Default::default()
    }
}

/// All keys that begin so: their first, and the first behind them.
#[must_use]
pub fn range(prefix: &str) -> (Vec<u8>, Vec<u8>) {
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        // The prefixes used here end in letters and digits.
        Some(last) => *last += 1,
        None => return (vec![0], vec![0]),
    }
    (prefix.as_bytes().to_vec(), end)
}

fn request(union: RequestUnion) -> pb::WatchRequest {
    pb::WatchRequest {
        request_union: Some(union),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sternpost_proto::mvccpb::KeyValue;

    #[test]
    fn a_client_goes_on_behind_what_it_was_told_or_with_what_is_left() {
        let mut watch = Watch::default();
        assert_eq!(watch.next(), 0, "from now on, and not begun");
        let header = |revision| {
            Some(pb::ResponseHeader {
                revision,
                ..Default::default()
            })
        };
        let created = pb::WatchResponse {
            header: header(7),
            created: true,
            ..Default::default()
        };
        watch.take_in(created, 1);
        assert_eq!(watch.next(), 8);
        let kv = KeyValue {
            mod_revision: 9,
            ..Default::default()
        };
        let event = Event {
            kv: Some(kv),
            ..Default::default()
        };
        let told = pb::WatchResponse {
            header: header(9),
            events: vec![event],
            ..Default::default()
        };
        watch.take_in(told, 2);
        assert_eq!(watch.next(), 10);
        let notice = pb::WatchResponse {
            header: header(11),
            ..Default::default()
        };
        watch.take_in(notice, 3);
        assert_eq!((watch.next(), watch.last()), (10, 11));
        let end = pb::WatchResponse {
            header: header(0),
            canceled: true,
            compact_revision: 15,
            ..Default::default()
        };
        watch.take_in(end, 4);
        let behind = Behind {
            compacted: 15,
            at: 4,
        };
        assert_eq!(watch.behind, Some(behind));
        assert_eq!((watch.next(), watch.last()), (15, 11), "no notice");
    }
}
