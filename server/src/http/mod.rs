//! `/health`, `/livez`, `/readyz`, `/version`, `/metrics` and what answers
//! everything else that is not gRPC.

mod guard;
mod health;
mod query;
mod reply;
mod scrape;

pub use guard::Guard;

use crate::member::{CLUSTER_VERSION, ETCD_VERSION, Member};
use axum::{Router, body::Body, extract::State, routing::any};
use health::{LIVEZ, Probe, READYZ};
use http::{Method, Request, Response, StatusCode, Uri};
use std::{convert::Infallible, sync::Arc};
use tower::Service as _;

/// The pages of a listener. Cheap to clone.
#[derive(Clone)]
pub struct Pages {
    router: Router,
    guard: Option<Arc<Guard>>,
}

impl Pages {
    /// What a client URL has.
    pub fn client(member: &Arc<Member>, guard: Guard) -> Self {
        let router = checks()
            .route("/version", any(version))
            .route("/v3/{*rest}", any(gateway));
        Self {
            router: finish(router, member),
            guard: Some(Arc::new(guard)),
        }
    }

    /// What a metrics URL has.
    pub fn metrics(member: &Arc<Member>) -> Self {
        Self {
            router: finish(checks(), member),
            guard: None,
        }
    }

    /// What a peer URL has, as long as there are no peers.
    pub fn peer(member: &Arc<Member>) -> Self {
        let router = Router::new()
            .route("/version", any(version))
            .route("/members", any(members));
        Self {
            router: finish(router, member),
            guard: None,
        }
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let allowed = match &self.guard {
            None => None,
            Some(guard) => match guard.check(&request) {
                Ok(origin) => origin,
                Err(why) => return reply::text(StatusCode::MISDIRECTED_REQUEST, why),
            },
        };
        let options = self.guard.is_some() && request.method() == Method::OPTIONS;
        let mut response = if options {
            Response::new(Body::empty())
        } else {
            self.route(request).await
        };
        if let Some(origin) = allowed {
            guard::allow(response.headers_mut(), origin);
        }
        response
    }

    async fn route(&self, request: Request<Body>) -> Response<Body> {
        let answered: Result<_, Infallible> = self.router.clone().call(request).await;
        let Ok(response) = answered;
        response
    }
}

fn checks() -> Router<Arc<Member>> {
    let router = Router::new()
        .route("/metrics", any(scrape::metrics))
        .route("/health", any(health::health));
    [LIVEZ, READYZ].into_iter().fold(router, |router, probe| {
        probe.names().fold(
            router.route(&format!("/{}", probe.kind), probe_route(probe, None)),
            |router, name| {
                router.route(
                    &format!("/{}/{name}", probe.kind),
                    probe_route(probe, Some(name)),
                )
            },
        )
    })
}

fn probe_route(
    probe: Probe,
    only: Option<&'static str>,
) -> axum::routing::MethodRouter<Arc<Member>> {
    any(
        move |State(member): State<Arc<Member>>, method: Method, uri: Uri| async move {
            probe.answer(&member, only, &method, uri.query()).await
        },
    )
}

fn finish(router: Router<Arc<Member>>, member: &Arc<Member>) -> Router {
    router
        .fallback(async || reply::not_found())
        .with_state(member.clone())
}

async fn version(State(member): State<Arc<Member>>, method: Method) -> Response<Body> {
    if method != Method::GET {
        return reply::method_not_allowed();
    }
    let view = member.node.reads().view();
    let (cluster, storage) = match view.cluster_version() {
        Some(version) => (version, CLUSTER_VERSION),
        None => ("not_decided", "unknown"),
    };
    let body = format!(
        "{{\"etcdserver\":\"{ETCD_VERSION}\",\"etcdcluster\":\"{cluster}\",\"storage\":\"{storage}\"}}"
    );
    reply::json(StatusCode::OK, body)
}

/// The members as another member would ask for them.
async fn members(State(member): State<Arc<Member>>, method: Method) -> Response<Body> {
    if method != Method::GET {
        return reply::method_not_allowed();
    }
    let view = member.node.reads().view();
    let list: Vec<_> = view
        .members()
        .iter()
        .map(|(id, record)| {
            let mut one = serde_json::Map::new();
            one.insert("id".to_owned(), id.0.into());
            one.insert("peerURLs".to_owned(), record.peer_urls.clone().into());
            if record.is_learner {
                one.insert("isLearner".to_owned(), true.into());
            }
            if !record.name.is_empty() {
                one.insert("name".to_owned(), record.name.clone().into());
            }
            if !record.client_urls.is_empty() {
                one.insert("clientURLs".to_owned(), record.client_urls.clone().into());
            }
            serde_json::Value::Object(one)
        })
        .collect();
    let mut response = reply::json(
        StatusCode::OK,
        format!("{}\n", serde_json::Value::from(list)),
    );
    let cluster = format!("{:x}", member.node.identity().cluster_id);
    let cluster = http::HeaderValue::try_from(cluster).expect("hex digits are a header value");
    response.headers_mut().insert("x-etcd-cluster-id", cluster);
    response
}

/// The JSON gateway's place: what it says of a path it does not know.
async fn gateway() -> Response<Body> {
    reply::json(
        StatusCode::NOT_FOUND,
        "{\"code\":5, \"message\":\"Not Found\"}",
    )
}

#[cfg(test)]
mod tests;
