//! Lease: grant, revoke, renew, ask.

use super::{keep_alive::keep_alive, status::ApiError};
use crate::{alarms, lease::TTL_MAX_SECS, member::Member, metrics::RequestKind};
use futures_util::{Stream, stream};
use std::{pin::Pin, sync::Arc, time::Instant};
use sternpost_proto::{
    etcdserverpb::{self as pb, AlarmType, lease_server::Lease},
    internal::{LeaseGrant, LeaseRevoke, command::Verb},
};
use sternpost_storage::LeaseId;
use tonic::{Request, Response, Status, Streaming};

/// The service.
pub struct LeaseService(pub Arc<Member>);

/// Renewals, answered one by one in their order.
pub type KeepAliveStream =
    Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Lease for LeaseService {
    type LeaseKeepAliveStream = KeepAliveStream;

    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        self.0.check_quota(alarms::LEASE_COST_BYTES).await?;
        let answer = self.0.measured(
            RequestKind::LeaseGrant,
            Instant::now(),
            self.grant(request.into_inner()).await,
        )?;
        Ok(Response::new(answer))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let answer = self.0.measured(
            RequestKind::LeaseRevoke,
            Instant::now(),
            self.revoke(request.into_inner()).await,
        )?;
        Ok(Response::new(answer))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeepAliveStream>, Status> {
        let requests = Some((self.0.clone(), request.into_inner()));
        let answers = stream::unfold(requests, |requests| async move {
            let (member, mut requests) = requests?;
            match requests.message().await {
                Ok(Some(request)) => match keep_alive(&member, request.id).await {
                    Ok(answer) => Some((Ok(answer), Some((member, requests)))),
                    Err(error) => Some((Err(error.into()), None)),
                },
                Ok(None) => None,
                Err(status) => {
                    member
                        .metrics
                        .network
                        .stream_failures
                        .with_label_values(&["receive", "lease-keepalive"])
                        .inc();
                    Some((Err(status), None))
                }
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let answer = self.time_to_live(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn lease_leases(
        &self,
        _request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let answer = self.leases().await?;
        Ok(Response::new(answer))
    }
}

impl LeaseService {
    async fn grant(
        &self,
        request: pb::LeaseGrantRequest,
    ) -> Result<pb::LeaseGrantResponse, ApiError> {
        if request.ttl > TTL_MAX_SECS {
            return Err(self.alarm_or(ApiError::LeaseTTLTooLarge));
        }
        let id = if request.id == 0 {
            rand::random_range(1..=i64::MAX)
        } else {
            request.id
        };
        let ttl_secs = self.0.leases.granted_ttl_secs(request.ttl);
        let outcome = self
            .0
            .propose(Verb::LeaseGrant(LeaseGrant { id, ttl_secs }))
            .await?;
        self.0.leases.wait_followed(&outcome).await;
        self.0.recheck_quota(alarms::LEASE_COST_BYTES).await?;
        let header = Some(self.0.header(outcome.revision));
        Ok(pb::LeaseGrantResponse {
            header,
            id,
            ttl: ttl_secs,
            error: String::new(),
        })
    }

    /// What etcd finds at apply, where alarms come first.
    fn alarm_or(&self, error: ApiError) -> ApiError {
        let view = self.0.node.reads().view();
        let has = |kind: AlarmType| view.alarms().iter().any(|alarm| alarm.alarm() == kind);
        if has(AlarmType::Corrupt) {
            ApiError::Corrupt
        } else if has(AlarmType::Nospace) {
            ApiError::NoSpace
        } else {
            error
        }
    }

    async fn revoke(
        &self,
        request: pb::LeaseRevokeRequest,
    ) -> Result<pb::LeaseRevokeResponse, ApiError> {
        let revoke = LeaseRevoke {
            id: request.id,
            expired_in_term: 0,
        };
        let outcome = self.0.propose(Verb::LeaseRevoke(revoke)).await?;
        self.0.leases.wait_followed(&outcome).await;
        Ok(pb::LeaseRevokeResponse {
            header: Some(self.0.header(outcome.revision)),
        })
    }

    async fn time_to_live(
        &self,
        request: pb::LeaseTimeToLiveRequest,
    ) -> Result<pb::LeaseTimeToLiveResponse, ApiError> {
        let id = request.id;
        let mut answer = pb::LeaseTimeToLiveResponse {
            id,
            ttl: -1,
            ..Default::default()
        };
        if let Some((left_us, granted_secs)) = self.0.lease_remaining(id).await? {
            answer.ttl = left_us / 1_000_000;
            answer.granted_ttl = granted_secs;
            if request.keys {
                let view = self.0.node.reads().view();
                answer.keys = self
                    .0
                    .pool
                    .run(0, move || view.lease_keys(LeaseId(id)))
                    .await??;
            }
        }
        answer.header = Some(self.0.current_header());
        Ok(answer)
    }

    /// On the leader in the order in which they end, elsewhere by ID.
    async fn leases(&self) -> Result<pb::LeaseLeasesResponse, ApiError> {
        let member = self.0.clone();
        let listed = move || {
            if member.counting_term().is_some() {
                return Ok(member.leases.by_deadline());
            }
            let leases = member.node.reads().view().leases()?;
            Ok::<_, ApiError>(leases.into_iter().map(|lease| lease.id.0).collect())
        };
        let ids: Vec<i64> = self.0.pool.run(0, listed).await??;
        let leases = ids.into_iter().map(|id| pb::LeaseStatus { id }).collect();
        Ok(pb::LeaseLeasesResponse {
            header: Some(self.0.current_header()),
            leases,
        })
    }
}
