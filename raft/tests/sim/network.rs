//! The network: every message takes its time; some are lost, come twice or
//! late, and links are cut, also in one direction only.

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use sternpost_proto::internal as pb;
use sternpost_raft::peer::{
    Call, Caller, Endpoint, Incoming, PeerChannel, PeerError, Route, Transport,
};
use tokio::{sync::mpsc, task::AbortHandle, time::sleep};

/// How soon a broken stream is noticed: the keepalive of a real connection.
const NOTICED_AFTER: Duration = Duration::from_millis(500);

/// All links.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    rng: StdRng,
    /// Who is up: its life, and its answers.
    up: HashMap<u64, (u64, Endpoint)>,
    cut: HashSet<(u64, u64)>,
    weather: Weather,
}

/// How the links are.
#[derive(Clone, Copy)]
pub struct Weather {
    pub delay_ms_max: u64,
    /// Of a hundred single messages.
    pub lost: u32,
    pub doubled: u32,
    /// Streams broken, of a thousand messages.
    pub broken: u32,
}

impl Weather {
    pub const FINE: Self = Self {
        delay_ms_max: 2,
        lost: 0,
        doubled: 0,
        broken: 0,
    };
}

impl Network {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: StdRng::seed_from_u64(seed),
            up: HashMap::new(),
            cut: HashSet::new(),
            weather: Weather::FINE,
        })))
    }

    pub fn come_up(&self, member: u64, life: u64, endpoint: Endpoint) {
        self.0.lock().up.insert(member, (life, endpoint));
    }

    pub fn go_down(&self, member: u64) {
        self.0.lock().up.remove(&member);
    }

    pub fn set_weather(&self, weather: Weather) {
        self.0.lock().weather = weather;
    }

    /// Nothing goes from one to the other any more.
    pub fn cut(&self, from: u64, to: u64) {
        self.0.lock().cut.insert((from, to));
    }

    pub fn heal(&self) {
        self.0.lock().cut.clear();
    }

    /// The way for one member in one life.
    pub fn transport(&self, life: u64) -> SimulatedTransport {
        SimulatedTransport {
            network: self.clone(),
            life,
        }
    }
}

pub struct SimulatedTransport {
    network: Network,
    life: u64,
}

impl Transport for SimulatedTransport {
    fn channel(&self, route: Route) -> Arc<dyn PeerChannel> {
        Arc::new(Link {
            network: self.network.clone(),
            life: self.life,
            caller: route.caller,
        })
    }
}

/// From one member to another.
#[derive(Clone)]
struct Link {
    network: Network,
    life: u64,
    caller: Caller,
}

impl Link {
    /// Whether something gets through now, there or back.
    fn is_open(&self, back: bool) -> bool {
        let state = self.network.0.lock();
        let Caller { from, to, .. } = self.caller;
        let link = if back { (to, from) } else { (from, to) };
        let alive = state
            .up
            .get(&from)
            .is_none_or(|(life, _)| *life == self.life);
        alive && state.up.contains_key(&to) && !state.cut.contains(&link)
    }

    fn endpoint(&self) -> Option<Endpoint> {
        let state = self.network.0.lock();
        state
            .up
            .get(&self.caller.to)
            .map(|(_, endpoint)| endpoint.clone())
    }

    fn chance(&self, of: u32, pick: impl Fn(&Weather) -> u32) -> bool {
        let mut state = self.network.0.lock();
        let chances = pick(&state.weather);
        state.rng.random_range(0..of) < chances
    }

    async fn delay(&self) {
        let micros = {
            let mut state = self.network.0.lock();
            let max = state.weather.delay_ms_max * 1000;
            state.rng.random_range(100..=max.max(200))
        };
        sleep(Duration::from_micros(micros)).await;
    }

    fn unary<Q, A, F>(
        &self,
        request: Q,
        call: impl Fn(Endpoint, Caller, Q) -> F + Clone + Send + Sync + 'static,
    ) -> Call<'static, A>
    where
        Q: Clone + Send + 'static,
        A: Send + 'static,
        F: Future<Output = Result<A, PeerError>> + Send + 'static,
    {
        let link = self.clone();
        Box::pin(async move {
            link.delay().await;
            if !link.is_open(false) || link.chance(100, |weather| weather.lost) {
                return std::future::pending().await;
            }
            let nobody = || PeerError::Unreachable("nobody there".into());
            let endpoint = link.endpoint().ok_or_else(nobody)?;
            if link.chance(100, |weather| weather.doubled) {
                let (link, call) = (link.clone(), call.clone());
                let (endpoint, request) = (endpoint.clone(), request.clone());
                tokio::spawn(async move {
                    link.delay().await;
                    if link.is_open(false) {
                        let _ = call(endpoint, link.caller, request).await;
                    }
                });
            }
            // It goes on there even if nobody waits here any more.
            let answer = tokio::spawn(call(endpoint, link.caller, request)).await;
            let answer = answer.map_err(|_| PeerError::Broken("it panicked".into()))?;
            link.delay().await;
            if !link.is_open(true) || link.chance(100, |weather| weather.lost) {
                return std::future::pending().await;
            }
            answer
        })
    }

    fn stream<Q, A>(
        &self,
        mut requests: BoxStream<'static, Q>,
        call: impl FnOnce(
            Endpoint,
            Caller,
            Incoming<'static, Q>,
        ) -> Result<Incoming<'static, A>, PeerError>
        + Send
        + 'static,
    ) -> Call<'static, Incoming<'static, A>>
    where
        Q: Send + 'static,
        A: Send + 'static,
    {
        let link = self.clone();
        Box::pin(async move {
            link.delay().await;
            let nobody = || PeerError::Unreachable("nobody there".into());
            if !link.is_open(false) {
                sleep(NOTICED_AFTER).await;
                return Err(nobody());
            }
            let endpoint = link.endpoint().ok_or_else(nobody)?;
            let (sender, receiver) = mpsc::channel(16);
            let sending = link.clone();
            let there = tokio::spawn(async move {
                while let Some(request) = requests.next().await {
                    sending.delay().await;
                    let broken = sending.chance(1000, |weather| weather.broken);
                    if !sending.is_open(false) || broken || sender.send(Ok(request)).await.is_err()
                    {
                        return;
                    }
                }
            });
            let there = Forwarding(there.abort_handle());
            let requests = stream::unfold(receiver, |mut receiver| async move {
                let request = receiver.recv().await?;
                Some((request, receiver))
            });
            let answers = call(endpoint, link.caller, Box::pin(requests))?;
            Ok(link.answers(answers, there))
        })
    }

    /// Answers on their way back, until the link is found cut.
    fn answers<A: Send + 'static>(
        self,
        answers: Incoming<'static, A>,
        there: Forwarding,
    ) -> Incoming<'static, A> {
        let state = Some((self, answers, there));
        Box::pin(stream::unfold(state, |state| async move {
            let (link, mut answers, there) = state?;
            loop {
                match tokio::time::timeout(NOTICED_AFTER, answers.next()).await {
                    Ok(None) => return None,
                    Ok(Some(answer)) => {
                        link.delay().await;
                        if link.is_open(true) {
                            return Some((answer, Some((link, answers, there))));
                        }
                    }
                    Err(_elapsed) if link.is_open(true) && link.is_open(false) => continue,
                    Err(_elapsed) => {}
                }
                let broken = PeerError::Broken("the link is cut".into());
                return Some((Err(broken), None));
            }
        }))
    }
}

/// Ends the sending side with the stream.
struct Forwarding(AbortHandle);

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl PeerChannel for Link {
    fn append(
        &self,
        requests: BoxStream<'static, pb::AppendRequest>,
    ) -> Call<'_, Incoming<'static, pb::AppendResponse>> {
        self.stream(requests, |endpoint, caller, requests| {
            endpoint.append(&caller, requests)
        })
    }

    fn append_one(&self, request: pb::AppendRequest) -> Call<'_, pb::AppendResponse> {
        self.unary(request, |endpoint, caller, request| async move {
            endpoint.append_one(&caller, request).await
        })
    }

    fn vote(&self, request: pb::VoteRequest) -> Call<'_, pb::VoteResponse> {
        self.unary(request, |endpoint, caller, request| async move {
            endpoint.vote(&caller, request).await
        })
    }

    fn transfer_leader(
        &self,
        request: pb::TransferLeaderRequest,
    ) -> Call<'_, pb::TransferLeaderResponse> {
        self.unary(request, |endpoint, caller, request| async move {
            endpoint.transfer_leader(&caller, request).await
        })
    }

    fn snapshot(
        &self,
        upload: BoxStream<'static, pb::SnapshotUpload>,
    ) -> Call<'_, Incoming<'static, pb::SnapshotProgress>> {
        self.stream(upload, |endpoint, caller, upload| {
            endpoint.snapshot(&caller, upload)
        })
    }

    fn propose(
        &self,
        proposals: BoxStream<'static, pb::ForwardedProposals>,
    ) -> Call<'_, Incoming<'static, pb::ForwardedRefusals>> {
        self.stream(proposals, |endpoint, caller, proposals| {
            endpoint.propose(&caller, proposals)
        })
    }

    fn read_index(&self, request: pb::ReadIndexRequest) -> Call<'_, pb::ReadIndexResponse> {
        self.unary(request, |endpoint, caller, request| async move {
            endpoint.read_index(&caller, request).await
        })
    }

    fn members(&self, request: pb::MembersRequest) -> Call<'_, pb::MembersResponse> {
        self.unary(request, |endpoint, caller, request| async move {
            endpoint.members(&caller, request)
        })
    }
}
