//! Maintenance: alarms, status, hashes, defragment, leadership, downgrade.

use super::status::{self, ApiError};
use crate::{
    member::{CLUSTER_VERSION, ETCD_VERSION, Member},
    metrics::RequestKind,
    pace::Pace,
};
use futures_util::stream;
use std::{sync::Arc, time::Instant};
use sternpost_proto::{
    etcdserverpb::{
        self as pb, AlarmType, alarm_request::AlarmAction, downgrade_request::DowngradeAction,
        maintenance_server::Maintenance,
    },
    internal::{AlarmChange, command::Verb},
};
use sternpost_raft::TransferError;
use sternpost_storage::{HashKv, MemberId, ReadError, Response as Answer};
use tonic::{Request, Response, Status};

/// Rows hashed in one step: about a millisecond.
const HASH_STEP_ROWS: usize = 1024;

/// The service.
pub struct MaintenanceService(pub Arc<Member>);

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = stream::Empty<Result<pb::SnapshotResponse, Status>>;

    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        let answer = self.0.measured(
            RequestKind::Alarm,
            Instant::now(),
            self.alarm_checked(request.into_inner()).await,
        )?;
        Ok(Response::new(answer))
    }

    async fn status(
        &self,
        _request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        Ok(Response::new(self.0.status()))
    }

    async fn defragment(
        &self,
        _request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.defragment_measured().await?;
        Ok(Response::new(pb::DefragmentResponse::default()))
    }

    async fn hash(
        &self,
        _request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        let answer = self.hash_measured().await?;
        Ok(Response::new(answer))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let answer = self.hash_kv_measured(request.into_inner().revision).await?;
        Ok(Response::new(answer))
    }

    async fn snapshot(
        &self,
        _request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(status::not_built("Maintenance.Snapshot"))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.move_leader_to(request.into_inner().target_id).await?;
        Ok(Response::new(pb::MoveLeaderResponse::default()))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        let request = request.into_inner();
        self.0.read_index().await?;
        let version = self.downgrade_checked(&request)?;
        // What is valid to enable is still nothing that this version can do.
        if request.action() == DowngradeAction::Enable {
            return Err(status::not_built("Maintenance.Downgrade ENABLE"));
        }
        Ok(Response::new(pb::DowngradeResponse {
            header: Some(self.0.current_header()),
            version,
        }))
    }
}

impl Member {
    /// This member as Status reports it. Needs no leader.
    pub fn status(&self) -> pb::StatusResponse {
        let node = self.node.status();
        let sizes = self.node.reads().sizes();
        let view = self.node.reads().view();
        let mut errors = Vec::new();
        if node.leadership.leader.is_none() {
            errors.push(ApiError::NoLeader.text().to_owned());
        }
        errors.extend(view.alarms().iter().map(alarm_text));
        pb::StatusResponse {
            header: Some(self.header(view.revision())),
            version: ETCD_VERSION.to_owned(),
            // Never 0: etcdctl divides by it.
            db_size: i64::try_from(sizes.db_bytes.max(1)).unwrap_or(i64::MAX),
            leader: node.leadership.leader.unwrap_or(0),
            raft_index: node.committed_index,
            raft_term: node.leadership.term,
            raft_applied_index: node.applied_index,
            errors,
            db_size_in_use: i64::try_from(sizes.db_in_use_bytes.min(sizes.db_bytes))
                .unwrap_or(i64::MAX),
            is_learner: node.is_learner,
            storage_version: CLUSTER_VERSION.to_owned(),
            db_size_quota: self.shown_quota(),
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }
    }

    /// The flag, but for 0, which stands for the default.
    fn shown_quota(&self) -> i64 {
        match self.config.quota_backend_bytes {
            0 => self
                .config
                .effective_quota_bytes()
                .and_then(|bytes| i64::try_from(bytes).ok())
                .unwrap_or(0),
            bytes => bytes,
        }
    }
}

/// An alarm in the text form of its message, which leaves zero out.
fn alarm_text(alarm: &pb::AlarmMember) -> String {
    let kind = match AlarmType::try_from(alarm.alarm) {
        Ok(kind) => kind.as_str_name().to_owned(),
        Err(_) => alarm.alarm.to_string(),
    };
    match alarm.member_id {
        0 => format!("alarm:{kind}"),
        id => format!("memberID:{id} alarm:{kind}"),
    }
}

impl MaintenanceService {
    async fn alarm_checked(
        &self,
        request: pb::AlarmRequest,
    ) -> Result<pb::AlarmResponse, ApiError> {
        let action =
            AlarmAction::try_from(request.action).map_err(|_| ApiError::UnknownAlarmAction)?;
        let alarms = match action {
            AlarmAction::Get => self.active_alarms(request.alarm).await?,
            AlarmAction::Activate => self.change_alarm(&request, false).await?,
            AlarmAction::Deactivate => self.change_alarm(&request, true).await?,
        };
        Ok(pb::AlarmResponse {
            header: Some(self.0.current_header()),
            alarms,
        })
    }

    /// The active alarms of a kind, or all for NONE, whoever raised them.
    async fn active_alarms(&self, kind: i32) -> Result<Vec<pb::AlarmMember>, ApiError> {
        self.0.read_index().await?;
        let view = self.0.node.reads().view();
        let wanted =
            |alarm: &&pb::AlarmMember| kind == AlarmType::None as i32 || alarm.alarm == kind;
        Ok(view.alarms().iter().filter(wanted).copied().collect())
    }

    async fn change_alarm(
        &self,
        request: &pb::AlarmRequest,
        clear: bool,
    ) -> Result<Vec<pb::AlarmMember>, ApiError> {
        let kind = match AlarmType::try_from(request.alarm) {
            Ok(AlarmType::None) => return Ok(Vec::new()),
            Ok(kind) => kind,
            // Nothing of that kind was ever raised.
            Err(_) if clear => return Ok(Vec::new()),
            Err(_) => return Err(ApiError::UnknownAlarmType),
        };
        let change = AlarmChange {
            clear,
            member_id: request.member_id,
            alarm: kind.into(),
        };
        let outcome = self.0.propose(Verb::Alarm(change)).await?;
        match outcome.response {
            Answer::Alarm(alarms) => Ok(alarms),
            _ => Err(ApiError::UnexpectedAnswer),
        }
    }

    async fn defragment_measured(&self) -> Result<(), ApiError> {
        let started = Instant::now();
        let metrics = &self.0.metrics.disk;
        metrics.defrag_inflight.inc();
        let _done = Decrement(&metrics.defrag_inflight);
        tracing::info!("defragmenting");
        self.0.node.defragment().await?;
        metrics
            .backend_defrag
            .observe(started.elapsed().as_secs_f64());
        tracing::info!(took = ?started.elapsed(), db_bytes = self.0.node.reads().sizes().db_bytes, "defragmented");
        Ok(())
    }

    async fn hash_measured(&self) -> Result<pb::HashResponse, ApiError> {
        let started = Instant::now();
        let member = self.0.clone();
        let hashed = move || -> Result<_, ApiError> {
            let mut pace = Pace::new(&member);
            let view = member.node.reads().view();
            let hash = view.hash_all(HASH_STEP_ROWS, &mut || pace.rest())?;
            Ok((hash, view.revision()))
        };
        let (hash, revision) = self.0.pool.run(0, hashed).await??;
        self.0
            .metrics
            .mvcc
            .hash_duration
            .observe(started.elapsed().as_secs_f64());
        Ok(pb::HashResponse {
            header: Some(self.0.header(revision)),
            hash,
        })
    }

    async fn hash_kv_measured(&self, revision: i64) -> Result<pb::HashKvResponse, ApiError> {
        let started = Instant::now();
        let member = self.0.clone();
        let hashed = move || -> Result<HashKv, ReadError> {
            let mut pace = Pace::new(&member);
            let mut task = member.node.reads().view().hash_kv(revision)?;
            loop {
                if let Some(hash) = task.step(HASH_STEP_ROWS)? {
                    return Ok(hash);
                }
                pace.rest();
            }
        };
        let hash = self.0.pool.run(0, hashed).await??;
        self.0
            .metrics
            .mvcc
            .hash_rev_duration
            .observe(started.elapsed().as_secs_f64());
        Ok(pb::HashKvResponse {
            header: Some(self.0.header(hash.current_revision)),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.hash_revision,
        })
    }

    /// Hands the lead to another voter, and waits until it leads.
    async fn move_leader_to(&self, target: u64) -> Result<(), ApiError> {
        let own = self.0.identity.member_id;
        if self.0.leadership.now().leader != Some(own) {
            return Err(ApiError::NotLeader);
        }
        let view = self.0.node.reads().view();
        let member = view
            .members()
            .iter()
            .find(|(id, _)| *id == MemberId(target));
        if member.is_none_or(|(_, record)| record.is_learner) {
            return Err(ApiError::BadLeaderTransferee);
        }
        drop(view);
        tracing::info!(to = format!("{target:x}"), "leadership transfer starting");
        match self.0.node.transfer_leader(target).await {
            Ok(()) => {
                tracing::info!(to = format!("{target:x}"), "leadership transfer finished");
                Ok(())
            }
            Err(TransferError::NotLeader) => Err(ApiError::NotLeader),
            Err(TransferError::NotVoter) => Err(ApiError::BadLeaderTransferee),
            Err(TransferError::TimedOut) => Err(ApiError::TimeoutLeaderTransfer),
            Err(TransferError::Stopped) => Err(ApiError::Stopped),
        }
    }

    /// The cluster version, if the request is one that etcd would carry out.
    fn downgrade_checked(&self, request: &pb::DowngradeRequest) -> Result<String, ApiError> {
        let action =
            DowngradeAction::try_from(request.action).map_err(|_| ApiError::UnknownMethod)?;
        let view = self.0.node.reads().view();
        let cluster = view.cluster_version().and_then(major_minor);
        // CANCEL finds nothing to cancel, and says so to nobody.
        if action != DowngradeAction::Cancel {
            let target =
                major_minor_asked(&request.version).ok_or(ApiError::WrongDowngradeVersionFormat)?;
            let (major, minor) = cluster.ok_or(ApiError::ClusterVersionUnavailable)?;
            if target.0 != major || target.1.checked_add(1) != Some(minor) {
                return Err(ApiError::InvalidDowngradeTargetVersion);
            }
        }
        let (major, minor) = cluster.ok_or(ApiError::ClusterVersionUnavailable)?;
        Ok(format!("{major}.{minor}"))
    }
}

/// As etcd reads the version asked for: `3.6.0`, also with a pre-release or
/// build part, or `3.6`.
fn major_minor_asked(text: &str) -> Option<(u64, u64)> {
    major_minor(text).or_else(|| major_minor(&format!("{text}.0")))
}

fn major_minor(text: &str) -> Option<(u64, u64)> {
    let text = text
        .split_once('+')
        .map_or(text, |(version, _build)| version);
    let text = text
        .split_once('-')
        .map_or(text, |(version, _pre_release)| version);
    let mut parts = text.split('.').map(|part| part.parse::<u64>().ok());
    let (major, minor, _patch) = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some((major, minor))
}

/// Takes a gauge down again, also when the client goes away.
struct Decrement<'a>(&'a prometheus::IntGauge);

impl Drop for Decrement<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_etcd_reads_them() {
        for text in ["3.6", "3.6.0", "3.6.9", "3.6.0-rc.1+x", "03.06"] {
            assert_eq!(major_minor_asked(text), Some((3, 6)), "{text}");
        }
        for text in ["", "x", "3", "3.", "3.6.0.0", "3.x", "-3.6", "v3.6"] {
            assert_eq!(major_minor_asked(text), None, "{text}");
        }
    }

    #[test]
    fn an_alarm_reads_as_its_message() {
        let alarm = |member_id| pb::AlarmMember {
            member_id,
            alarm: AlarmType::Nospace.into(),
        };
        assert_eq!(alarm_text(&alarm(7)), "memberID:7 alarm:NOSPACE");
        assert_eq!(alarm_text(&alarm(0)), "alarm:NOSPACE");
    }
}
