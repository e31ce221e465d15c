//! The async face of one stream: requests in, responses out, progress ticks.
//!
//! There is no task per stream. Whoever sends the response body polls it, and
//! each poll also looks at the requests; so a client that does not read can't
//! make the server work or store for it.

use super::{
    delivery::{CreateRequest, SessionKey},
    encode::{Head, Response},
    hub::Hub,
    registry::{Form, Selector},
    session::End,
    timing::Burst,
};
use futures_util::Stream;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use sternpost_proto::etcdserverpb as pb;
use sternpost_storage::failpoint;
use tokio::time::{Instant, Sleep, sleep_until};

use pb::{watch_create_request::FilterType, watch_request::RequestUnion};

/// Responses sent before requests are looked at again, while there are any.
const RESPONSES_PER_REQUEST: u32 = 16;

/// Requests handled before other connections get their turn.
const REQUESTS_PER_POLL: u32 = 64;

/// A response and the header it goes out with.
pub struct Framed {
    /// The common fields.
    pub head: Head,
    /// The response.
    pub response: Response,
}

/// What ends a stream.
#[derive(Debug)]
pub enum Ended<E> {
    /// The server did.
    Server(End),
    /// Its requests can't be read.
    Requests(E),
}

/// A watch stream over its requests.
pub struct WatchStream<R> {
    hub: Arc<Hub>,
    key: SessionKey,
    head: Head,
    /// `None` once the client said that it has no more.
    requests: Option<R>,
    responses_since_request: u32,
    burst: Burst,
    ticker: Ticker,
    over: bool,
}

impl<R> WatchStream<R> {
    /// Opens a stream. Watches that ask for it hear of progress in about this
    /// interval.
    pub fn open(
        hub: Arc<Hub>,
        requests: R,
        require_leader: bool,
        progress_interval: Duration,
    ) -> Self {
        let key = hub.with(|delivery| delivery.open(require_leader));
        let identity = hub.node().identity();
        let head = Head {
            cluster_id: identity.cluster_id,
            member_id: identity.member_id,
            raft_term: 0,
        };
        let ticker = Ticker::new(progress_interval);
        Self {
            hub,
            key,
            head,
            requests: Some(requests),
            responses_since_request: 0,
            burst: Burst::default(),
            ticker,
            over: false,
        }
    }

    fn handle(&mut self, request: pb::WatchRequest) {
        let revision = self.hub.node().reads().view().revision();
        let key = self.key;
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => {
                let request = parse(&create);
                let created = self
                    .hub
                    .with(|delivery| delivery.create(key, request, revision));
                if created && create.progress_notify {
                    self.ticker.start();
                }
            }
            Some(RequestUnion::CancelRequest(cancel)) => {
                self.hub
                    .with(|delivery| delivery.cancel(key, cancel.watch_id, revision));
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.hub.with(|delivery| delivery.progress(key, revision))
            }
            // A request of a kind that this version does not know.
            None => {}
        }
    }

    fn poll_response<E>(&mut self, cx: &Context<'_>) -> Option<Result<Framed, Ended<E>>> {
        let key = self.key;
        let Some(polled) = self.hub.with(|delivery| delivery.poll(key, cx.waker())) else {
            self.burst.finish(&self.hub.metrics().watch);
            return None;
        };
        match polled {
            Ok((response, events)) => {
                failpoint!("beforeSendWatchResponse");
                self.burst.add(&response, events);
                self.responses_since_request += 1;
                self.head.raft_term = self.hub.node().term();
                Some(Ok(Framed {
                    head: self.head,
                    response,
                }))
            }
            Err(end) => {
                self.over = true;
                Some(Err(Ended::Server(end)))
            }
        }
    }
}

impl<R, E> WatchStream<R>
where
    R: Stream<Item = Result<pb::WatchRequest, E>> + Unpin,
{
    /// Handles the next request. False if there is none now, or no room to
    /// answer it.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended<E>> {
        self.responses_since_request = 0;
        let Some(requests) = &mut self.requests else {
            return Ok(false);
        };
        if !self.hub.with(|delivery| delivery.has_room(self.key)) {
            return Ok(false);
        }
        match Pin::new(requests).poll_next(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Some(Ok(request))) => {
                self.handle(request);
                Ok(true)
            }
            // Half-closed: its watches go on.
            Poll::Ready(None) => {
                self.requests = None;
                Ok(false)
            }
            Poll::Ready(Some(Err(error))) => {
                self.over = true;
                Err(Ended::Requests(error))
            }
        }
    }
}

impl<R, E> Stream for WatchStream<R>
where
    R: Stream<Item = Result<pb::WatchRequest, E>> + Unpin,
{
    type Item = Result<Framed, Ended<E>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        if this.ticker.poll(cx) {
            let key = this.key;
            this.hub.with(|delivery| delivery.tick(key));
        }
        for _ in 0..REQUESTS_PER_POLL {
            if this.responses_since_request < RESPONSES_PER_REQUEST
                && let Some(response) = this.poll_response(cx)
            {
                return Poll::Ready(Some(response));
            }
            match this.poll_request(cx) {
                Ok(true) => {}
                Ok(false) => {
                    return this
                        .poll_response(cx)
                        .map_or(Poll::Pending, |response| Poll::Ready(Some(response)));
                }
                Err(ended) => return Poll::Ready(Some(Err(ended))),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<R> Drop for WatchStream<R> {
    fn drop(&mut self) {
        self.hub.with(|delivery| delivery.close(self.key));
    }
}

fn parse(create: &pb::WatchCreateRequest) -> CreateRequest {
    let drops = |filter: FilterType| create.filters.contains(&filter.into());
    CreateRequest {
        selector: Selector::parse(&create.key, &create.range_end),
        start_revision: create.start_revision,
        watch_id: create.watch_id,
        form: Form {
            prev_kv: create.prev_kv,
            skip_puts: drops(FilterType::Noput),
            skip_deletes: drops(FilterType::Nodelete),
            fragment: create.fragment,
        },
        progress_notify: create.progress_notify,
    }
}

/// Ticks once per interval from the opening of its stream; costs a timer only
/// once a watch wants it.
struct Ticker {
    next: Instant,
    interval: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Ticker {
    fn new(interval: Duration) -> Self {
        Self {
            next: Instant::now() + interval,
            interval,
            timer: None,
        }
    }

    fn start(&mut self) {
        if self.timer.is_none() {
            self.skip_missed();
            self.timer = Some(Box::pin(sleep_until(self.next)));
        }
    }

    /// Whether a tick has come since the last call.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let mut ticked = false;
        while let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            ticked = true;
            self.next += self.interval;
            self.skip_missed();
            if let Some(timer) = &mut self.timer {
                timer.as_mut().reset(self.next);
            }
        }
        ticked
    }

    /// Moves a tick that has passed to the next one that has not.
    fn skip_missed(&mut self) {
        let late = Instant::now().saturating_duration_since(self.next);
        if !late.is_zero() {
            let missed = late.as_nanos().div_ceil(self.interval.as_nanos().max(1));
            self.next += self.interval * u32::try_from(missed).unwrap_or(u32::MAX);
        }
    }
}
