//! The ways to arm failpoints from outside, which are those of etcd's gofail.
//! Only in a build with the feature `failpoints`, which is for tests.
//!
//! In the environment: `GOFAIL_FAILPOINTS="name=terms;name=terms"`. By HTTP on
//! the loopback address in `GOFAIL_HTTP`: `GET /` lists all points as
//! `name=terms`, `GET /name` tells the terms and `GET /name/count` how often
//! threads were there since it was armed, `PUT /name` arms it with the body,
//! `DELETE /name` disarms it.

use crate::logging::FATAL;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Path},
    routing::get,
};
use http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::{fmt::Write as _, io, net, time::Duration};
use sternpost_storage::failpoints::{self, ArmError};
use tokio::net::TcpListener;

/// What points are armed with from the start.
const ARMED: &str = "GOFAIL_FAILPOINTS";

/// Where they can be armed later.
const ADDRESS: &str = "GOFAIL_HTTP";

/// More than any terms that make sense.
const TERMS_BYTES_MAX: usize = 4096;

/// One caller is heard at a time, so none may take longer.
const CALL_MAX: Duration = Duration::from_secs(5);

/// A connection that can't be taken is no reason to end, nor to spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The exit code of a process that a failpoint has ended.
const EXIT_FATAL: i32 = 1;

/// Arms what the environment says, and listens where it says so. The error
/// says what is wrong with it.
pub fn start(variables: &[(String, String)]) -> Result<(), String> {
    tracing::warn!("this build has failpoints: it is for tests");
    failpoints::on_panic(end);
    let value = |wanted: &str| {
        let found = variables.iter().find(|(name, _)| name == wanted);
        found
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    };
    if let Some(all) = value(ARMED) {
        arm_all(all)?;
    }
    if let Some(address) = value(ADDRESS) {
        listen(address).map_err(|error| format!("{ADDRESS}={address}: {error}"))?;
    }
    Ok(())
}

/// A panic at a point ends the process as a crash does: nothing is tidied up.
fn end(point: &str) -> ! {
    tracing::error!(target: FATAL, point, "a failpoint ends this process");
    // SAFETY: ends the process; no memory is touched.
    unsafe { libc::_exit(EXIT_FATAL) }
}

fn arm_all(all: &str) -> Result<(), String> {
    for one in all.split(';').map(str::trim).filter(|one| !one.is_empty()) {
        let (name, terms) = one
            .split_once('=')
            .ok_or_else(|| format!("{ARMED}: {one:?} is not of the form name=terms"))?;
        failpoints::arm(name.trim(), terms).map_err(|error| format!("{ARMED}: {error}"))?;
    }
    Ok(())
}

/// Serves on a thread of its own, which points may put to sleep as little as
/// any request may; it ends with the process.
fn listen(address: &str) -> io::Result<()> {
    let listener = net::TcpListener::bind(&*loopback(address)?)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?.to_string();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let serving = move || runtime.block_on(serve(listener));
    std::thread::Builder::new()
        .name("failpoints".into())
        .spawn(serving)?;
    tracing::warn!(address, "failpoints can be armed here");
    Ok(())
}

/// Whoever may arm a failpoint may end the process.
fn loopback(address: &str) -> io::Result<Vec<net::SocketAddr>> {
    let found: Vec<_> = net::ToSocketAddrs::to_socket_addrs(address)?.collect();
    match found.iter().all(|found| found.ip().is_loopback()) {
        true => Ok(found),
        false => Err(io::Error::other(
            "whoever reaches it can end this process, so it must be a loopback address, such as 127.0.0.1:22381",
        )),
    }
}

async fn serve(listener: net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "failpoints can't be armed"),
    };
    let service = TowerToHyperService::new(router());
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        let call = http1::Builder::new()
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service.clone());
        // A caller that goes away or takes too long has no one to be told of it.
        let _ = tokio::time::timeout(CALL_MAX, call).await;
    }
}

fn router() -> Router {
    Router::new()
        .route("/", get(list))
        .route("/{name}", get(show).put(arm).delete(disarm))
        .route("/{name}/count", get(count))
        .layer(DefaultBodyLimit::max(TERMS_BYTES_MAX))
}

type Refusal = (StatusCode, String);

fn refusal(error: ArmError) -> Refusal {
    let code = match error {
        ArmError::Unknown(_) => StatusCode::NOT_FOUND,
        ArmError::Terms(_) => StatusCode::BAD_REQUEST,
    };
    (code, format!("{error}\n"))
}

async fn list() -> String {
    let mut lines = String::new();
    for (name, terms) in failpoints::list() {
        let _ = writeln!(lines, "{name}={terms}");
    }
    lines
}

async fn show(Path(name): Path<String>) -> Result<String, Refusal> {
    let all = failpoints::list();
    let found = all.into_iter().find(|(known, _)| *known == name);
    let (_, terms) = found.ok_or_else(|| refusal(ArmError::Unknown(name)))?;
    Ok(terms + "\n")
}

async fn count(Path(name): Path<String>) -> Result<String, Refusal> {
    let passed = failpoints::passed(&name).map_err(refusal)?;
    Ok(passed.to_string())
}

async fn arm(Path(name): Path<String>, terms: String) -> Result<StatusCode, Refusal> {
    failpoints::arm(&name, &terms).map_err(refusal)?;
    tracing::warn!(point = name, terms, "a failpoint is armed");
    Ok(StatusCode::NO_CONTENT)
}

async fn disarm(Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    failpoints::disarm(&name).map_err(refusal)?;
    tracing::warn!(point = name, "a failpoint is disarmed");
    Ok(StatusCode::NO_CONTENT)
}
