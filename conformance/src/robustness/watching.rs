//! Watchers: what each asked for, and every response it was sent.

use crate::client::Client;
use crate::ledger::history::revision;
use std::sync::{Arc, Mutex};
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
    /// The revision in its header.
    pub revision: i64,
    /// What has changed.
    pub events: Vec<Event>,
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
}

/// All watches of a run.
pub type Watches = Arc<Mutex<Vec<Watch>>>;

/// Watches a member until it is aborted; a broken stream is resumed behind the last event.
pub async fn follow(client: Client, who: String, mut wish: Wish, watches: Watches) {
    let all = || watches.lock().expect("no holder panics");
    loop {
        let nth = all().len();
        all().push(Watch {
            who: who.clone(),
            wish: wish.clone(),
            ..Watch::default()
        });
        let note = |answer| {
            take_in(&mut all()[nth], answer);
            true
        };
        one_stream(client.clone(), &wish, note).await;
        {
            // A watch from now on that has begun goes on where it was.
            let watch = &all()[nth];
            if watch.wish.start > 0 || watch.created > 0 {
                let last = watch.events().last().map(revision);
                wish.start = last.map_or(watch.first(), |last| last + 1);
            }
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// Everything from the first revision to `end`, from one member.
pub async fn whole(client: Client, who: String, end: i64) -> Watch {
    let wish = Wish {
        start: 1,
        previous: true,
        ..Wish::default()
    };
    let mut watch = Watch {
        who,
        wish: wish.clone(),
        ..Watch::default()
    };
    let note = |answer: pb::WatchResponse| {
        let last = answer.events.last().map_or(0, revision);
        take_in(&mut watch, answer);
        last < end
    };
    one_stream(client, &wish, note).await;
    watch
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
                if answer.canceled || !note(answer) {
                    return;
                }
            }
            () = tokio::time::sleep_until(silent_at) => return,
        }
    }
}

fn take_in(watch: &mut Watch, answer: pb::WatchResponse) {
    let revision = answer.header.map_or(0, |header| header.revision);
    if answer.created {
        watch.created = revision;
        return;
    }
    watch.responses.push(Response {
        revision,
        events: answer.events,
    });
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
