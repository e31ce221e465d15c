//! The life of a server process: flags, sockets, data, service, drain.

mod report;

use crate::{
    api,
    bootstrap::{self, DataDir},
    config::{self, Config, Stop, USAGE, Url},
    http::{Guard, Pages},
    layers::{self, Calls, Front},
    logging,
    member::{Member, Standing},
    metrics::Metrics,
    peer::PeerCalls,
    transport::{Limits, Listener, Port, Transport},
};
use std::{env, io, sync::Arc, time::Duration};
use sternpost_raft::RaftNode;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long requests in flight may take once the process was told to go.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Runs a server to its end; the exit code. A process that was ended by a
/// signal dies of that signal, as etcd does.
pub fn run(program: &str, arguments: &[String]) -> i32 {
    let variables: Vec<(String, String)> = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let (config, notices) = match config::load(arguments, &variables) {
        Ok(loaded) => (loaded.config, loaded.notices),
        Err(Stop::Print(text)) => {
            print!("{text}");
            return 0;
        }
        Err(Stop::Usage(text)) => {
            eprint!("{text}\n{USAGE}");
            return 2;
        }
        Err(Stop::Refuse {
            config,
            notices,
            why,
        }) => {
            if let Err(error) = logging::start(&config) {
                eprintln!("can't open the log: {error}");
            }
            report::notices(&notices);
            report::refusal(&why);
            return 1;
        }
    };
    if let Err(error) = logging::start(&config) {
        eprintln!("can't open the log: {error}");
        return 1;
    }
    report::notices(&notices);
    report::arguments(program, arguments);
    #[cfg(feature = "failpoints")]
    if let Err(error) = crate::failpoints::start(&variables) {
        report::fatal(&error);
        return 1;
    }
    match serve(config) {
        Ok(Ended::Told(signal)) => die_of(signal),
        Ok(Ended::Removed) => 0,
        Err(error) => {
            report::fatal(&error);
            1
        }
    }
}

/// All sockets, bound before any data is touched.
struct Sockets {
    peer: Vec<Listener>,
    client: Vec<Listener>,
    client_http: Vec<Listener>,
    metrics: Vec<Listener>,
}

impl Sockets {
    fn bind(config: &Config) -> Result<Self, String> {
        let all = |urls: &[Url]| {
            urls.iter()
                .map(|url| Listener::bind(url, config))
                .collect::<Result<Vec<_>, _>>()
        };
        report::listening("peer", &config.listen_peer_urls);
        let peer = all(&config.listen_peer_urls)?;
        report::listening("client", &config.listen_client_urls);
        Ok(Self {
            peer,
            client: all(&config.listen_client_urls)?,
            client_http: all(&config.listen_client_http_urls)?,
            metrics: all(&config.listen_metrics_urls)?,
        })
    }
}

/// Serves until there is a reason to end; that reason.
fn serve(config: Config) -> Result<Ended, String> {
    let sockets = Sockets::bind(&config)?;
    let dir = DataDir::open(&config)?;
    let metrics = Metrics::new(config.metrics);
    report::starting(&config, &dir);
    let standing = Arc::new(Standing::default());
    let node = bootstrap::open_node(&config, &dir, &metrics, &standing)?;
    report::constants(&metrics, &config, node.identity());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("member")
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let ended = runtime
        .block_on(live(config, node, (metrics, standing), sockets))
        .map_err(|error| error.to_string())?;
    drop(dir);
    Ok(ended)
}

/// Why a server ends.
enum Ended {
    /// It was told to.
    Told(SignalKind),
    /// The cluster has removed it.
    Removed,
}

/// How long a removed member still answers, as in etcd: whoever removed it by
/// asking it hears that it is done.
const REMOVED_DELAY: Duration = Duration::from_secs(1);

async fn ended(member: &Member, signals: &mut Signals) -> Ended {
    let removed = async {
        member.standing.removed().await;
        tokio::time::sleep(REMOVED_DELAY).await;
    };
    tokio::select! {
        signal = signals.next() => Ended::Told(signal),
        () = removed => Ended::Removed,
    }
}

async fn live(
    config: Config,
    node: RaftNode,
    (metrics, standing): (Metrics, Arc<Standing>),
    sockets: Sockets,
) -> io::Result<Ended> {
    let mut signals = Signals::new()?;
    let mut transport = Transport::start(Limits::new(&config))?;
    let mut peers = Port::on(node.peer_runtime(), Limits::new(&config));
    let member = Member::start(config, node, metrics, standing);
    let fronts = Fronts::new(&member, &transport);
    report::serving(&member, &sockets.peer, &sockets.metrics);
    for listener in sockets.peer {
        peers.listen(listener, fronts.peer.clone())?;
    }
    for listener in sockets.metrics {
        transport.listen(listener, fronts.metrics.clone())?;
    }
    let why = tokio::select! {
        () = member.wait_published() => None,
        why = ended(&member, &mut signals) => Some(why),
    };
    let why = match why {
        Some(why) => why,
        None => {
            report::ready(&member, &sockets.client, &sockets.client_http);
            for listener in sockets.client {
                transport.listen(listener, fronts.client.clone())?;
            }
            for listener in sockets.client_http {
                transport.listen(listener, fronts.client_http.clone())?;
            }
            notify_init_daemon();
            ended(&member, &mut signals).await
        }
    };
    match &why {
        Ended::Told(signal) => report::signal(*signal),
        Ended::Removed => report::removed(),
    }
    tokio::select! {
        () = close(&member, transport, peers) => {}
        // Asked twice: go now. What was acknowledged is on disk.
        _ = signals.next() => {}
    }
    Ok(why)
}

/// The other members are heard to the end: a successor may need this one's vote.
async fn close(member: &Arc<Member>, mut transport: Transport, peers: Port) {
    report::closing(&member.config, "closing etcd server");
    transport.stop();
    let drained = tokio::task::spawn_blocking(move || transport.drain(DRAIN_MAX));
    match drained.await {
        Ok(0) => {}
        Ok(cut) => tracing::warn!(
            connections = cut,
            "connections were cut off: their requests took too long"
        ),
        Err(error) => tracing::warn!(%error, "the transport did not drain"),
    }
    member.stop().await;
    member.node.shutdown().await;
    peers.stop();
    report::closing(&member.config, "closed etcd server");
}

/// What answers where.
struct Fronts {
    peer: Front,
    client: Front,
    client_http: Front,
    metrics: Front,
}

impl Fronts {
    fn new(member: &Arc<Member>, transport: &Transport) -> Self {
        let config = &member.config;
        let health = tonic::service::Routes::new(layers::health_service()).into_axum_router();
        let calls = Calls {
            router: api::routes(member).merge(health.reset_fallback()),
            direct: Arc::new(api::direct(member)),
            metrics: member.metrics.clone(),
            receive_max: config.grpc_receive_max(),
            gate: member.clone(),
            slow_after: config.warning_unary_request_duration,
            stopping: transport.stopping().clone(),
        };
        let pages = || Pages::client(member, Guard::new(config));
        // With URLs for HTTP alone, the client URLs speak gRPC alone.
        let split = !config.listen_client_http_urls.is_empty();
        Self {
            peer: Front::peer(PeerCalls::new(member), Pages::peer(member)),
            client: Front::new(Some(calls), (!split).then(pages)),
            client_http: Front::new(None, Some(pages())),
            metrics: Front::new(None, Some(Pages::metrics(member))),
        }
    }
}

/// The signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}

fn notify_init_daemon() {
    // Without systemd there is nobody to tell.
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "failed to notify init daemon");
    }
}

/// Ends the process by the signal itself, so that whoever waits for it sees
/// why it ended. Returns only if the signal is blocked.
fn die_of(signal: SignalKind) -> i32 {
    let number = signal.as_raw_value();
    // SAFETY: plain system calls with valid arguments; nothing runs after.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
        libc::kill(libc::getpid(), number);
    }
    128 + number
}
