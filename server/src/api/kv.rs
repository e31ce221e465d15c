//! KV: ranges, puts, deletes, transactions, compactions.

use super::{
    framed::{self, Pieces},
    range_stream::{self, RangeStream},
    status::ApiError,
    validate,
};
use crate::{
    alarms,
    layers::Framed,
    member::Member,
    metrics::RequestKind,
    read::{self, Held},
};
use std::{sync::Arc, time::Instant};
use sternpost_proto::{
    etcdserverpb::{self as pb, kv_server::Kv, request_op, response_op},
    internal::command::Verb,
};
use sternpost_storage::{ReadView, Response as Answer};
use tonic::{Request, Response, Status};

/// The service.
pub struct KvService(pub Arc<Member>);

#[tonic::async_trait]
impl Kv for KvService {
    type RangeStreamStream = RangeStream;

    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let request = request.into_inner();
        self.0.check_learner(&request)?;
        validate::range(&request)?;
        let answer = self.0.measured(
            RequestKind::Range,
            Instant::now(),
            self.range_checked(request).await,
        )?;
        Ok(Response::new(answer))
    }

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<RangeStream>, Status> {
        let request = request.into_inner();
        validate::range_stream(&request)?;
        let stream = self.0.measured(
            RequestKind::Range,
            Instant::now(),
            range_stream::start(self.0.clone(), request).await,
        )?;
        self.0.metrics.mvcc.range_total.inc();
        Ok(Response::new(stream))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        self.put_message(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        self.delete_message(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let request = request.into_inner();
        let cost = self.admit_txn(&request).await?;
        let answer = if read::is_read_only(&request) {
            let started = Instant::now();
            let answered = self.read_txn_checked(request).await;
            self.0
                .measured(RequestKind::ReadonlyTxn, started, answered)?
        } else {
            self.txn_measured(request, cost).await?
        };
        self.0.count_txn(&answer);
        Ok(Response::new(answer))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let answer = self.0.measured(
            RequestKind::Compaction,
            Instant::now(),
            self.0.compact(request.into_inner()).await,
        )?;
        Ok(Response::new(answer))
    }
}

impl KvService {
    /// A range whose answer is encoded where it was read, and charged to the
    /// pool until it is sent.
    pub async fn range_framed(&self, request: Request<pb::RangeRequest>) -> Result<Framed, Status> {
        let request = request.into_inner();
        self.0.check_learner(&request)?;
        validate::range(&request)?;
        let started = Instant::now();
        let member = self.0.clone();
        let read = move |view: &ReadView, request: &pb::RangeRequest| {
            framed::range(&member, view, request)
        };
        let ranged = self.0.range_with(request, read).await;
        let (pieces, held) = self.0.measured(RequestKind::Range, started, ranged)?;
        self.0.metrics.mvcc.range_total.inc();
        sent(pieces, held)
    }

    /// A put.
    pub async fn put_message(&self, request: pb::PutRequest) -> Result<pb::PutResponse, Status> {
        let cost = alarms::put_cost(&request);
        // etcd looks at the quota before it looks at the request.
        self.0.check_quota(cost).await?;
        validate::put(&request)?;
        Ok(self.0.measured(
            RequestKind::Put,
            Instant::now(),
            self.put_checked(request, cost).await,
        )?)
    }

    /// A deletion.
    pub async fn delete_message(
        &self,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, Status> {
        validate::delete_range(&request)?;
        Ok(self.0.measured(
            RequestKind::DeleteRange,
            Instant::now(),
            self.delete_checked(request).await,
        )?)
    }

    /// A transaction; the same for one that only reads.
    pub async fn txn_framed(&self, request: Request<pb::TxnRequest>) -> Result<Framed, Status> {
        let request = request.into_inner();
        let cost = self.admit_txn(&request).await?;
        if !read::is_read_only(&request) {
            let answer = self.txn_measured(request, cost).await?;
            self.0.count_txn(&answer);
            return Framed::of(&answer);
        }
        let started = Instant::now();
        let member = self.0.clone();
        let read = move |view: &ReadView, request: &pb::TxnRequest| {
            framed::read_txn(&member, view, request)
        };
        let answered = self.0.read_txn_with(request, read).await;
        let ((pieces, ranges), held) =
            self.0
                .measured(RequestKind::ReadonlyTxn, started, answered)?;
        self.0.count_done(&Done {
            ranges: ranges as u64,
            ..Done::default()
        });
        sent(pieces, held)
    }

    /// What comes before a transaction; its cost for the quota.
    async fn admit_txn(&self, request: &pb::TxnRequest) -> Result<u64, Status> {
        let cost = alarms::txn_cost(request);
        self.0.check_quota(cost).await?;
        validate::txn(request, self.0.config.max_txn_ops)?;
        Ok(cost)
    }

    async fn txn_measured(
        &self,
        request: pb::TxnRequest,
        cost: u64,
    ) -> Result<pb::TxnResponse, ApiError> {
        let started = Instant::now();
        let answered = self.txn_checked(request, cost).await;
        self.0.measured(RequestKind::Txn, started, answered)
    }

    async fn range_checked(
        &self,
        request: pb::RangeRequest,
    ) -> Result<pb::RangeResponse, ApiError> {
        let (mut answer, revision) = self.0.range(request).await?;
        answer.header = Some(self.0.header(revision));
        self.0.metrics.mvcc.range_total.inc();
        Ok(answer)
    }

    async fn put_checked(
        &self,
        request: pb::PutRequest,
        cost: u64,
    ) -> Result<pb::PutResponse, ApiError> {
        let bytes = request.key.len() + request.value.len();
        let outcome = self.0.propose(Verb::Put(request)).await?;
        self.0.recheck_quota(cost).await?;
        let Answer::Put(mut answer) = outcome.response else {
            return Err(ApiError::UnexpectedAnswer);
        };
        answer.header = Some(self.0.header(outcome.revision));
        let metrics = &self.0.metrics.mvcc;
        metrics.put_total.inc();
        metrics.total_put_size.add(bytes as i64);
        Ok(answer)
    }

    async fn delete_checked(
        &self,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, ApiError> {
        let outcome = self.0.propose(Verb::DeleteRange(request)).await?;
        let Answer::DeleteRange(mut answer) = outcome.response else {
            return Err(ApiError::UnexpectedAnswer);
        };
        answer.header = Some(self.0.header(outcome.revision));
        self.0.metrics.mvcc.delete_total.inc();
        Ok(answer)
    }

    async fn read_txn_checked(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, ApiError> {
        let (mut answer, revision) = self.0.read_txn(request).await?;
        answer.header = Some(self.0.header(revision));
        Ok(answer)
    }

    async fn txn_checked(
        &self,
        request: pb::TxnRequest,
        cost: u64,
    ) -> Result<pb::TxnResponse, ApiError> {
        let bytes = put_bytes(&request);
        let outcome = self.0.propose(Verb::Txn(request)).await?;
        self.0.recheck_quota(cost).await?;
        let Answer::Txn(mut answer) = outcome.response else {
            return Err(ApiError::UnexpectedAnswer);
        };
        answer.header = Some(self.0.header(outcome.revision));
        let bytes = if answer.succeeded {
            bytes.success
        } else {
            bytes.failure
        };
        self.0.metrics.mvcc.total_put_size.add(bytes as i64);
        Ok(answer)
    }
}

impl Member {
    /// Marks a revision as compacted; `physical` waits until its dead rows
    /// are gone.
    pub async fn compact(
        &self,
        request: pb::CompactionRequest,
    ) -> Result<pb::CompactionResponse, ApiError> {
        let physical = request.physical;
        let outcome = self.propose(Verb::Compaction(request)).await?;
        if physical {
            self.node.wait_scrubbed().await;
        }
        Ok(pb::CompactionResponse {
            header: Some(self.header(outcome.revision)),
        })
    }

    /// Measures a request with all it waited for. It takes the result rather
    /// than the future: a future handed on takes its room twice.
    pub fn measured<T>(
        &self,
        kind: RequestKind,
        started: Instant,
        result: Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let duration = &self.metrics.server.request_duration;
        duration.observe(kind, result.is_ok(), started.elapsed());
        result
    }

    /// Counts what a transaction did, as etcd: one of a single operation
    /// counts as that operation alone.
    fn count_txn(&self, answer: &pb::TxnResponse) {
        let mut done = Done::default();
        done.count(answer);
        self.count_done(&done);
    }

    fn count_done(&self, done: &Done) {
        let metrics = &self.metrics.mvcc;
        metrics.range_total.inc_by(done.ranges);
        metrics.put_total.inc_by(done.puts);
        metrics.delete_total.inc_by(done.deletes);
        if done.ranges + done.puts + done.deletes > 1 {
            metrics.txn_total.inc();
        }
    }
}

/// An encoded answer, held until it is sent.
fn sent(pieces: Pieces, held: Option<Held>) -> Result<Framed, Status> {
    let held = held.map(|held| Box::new(held) as Box<dyn Send + Sync>);
    Ok(Framed::new(pieces?, held))
}

/// The operations that a transaction carried out.
#[derive(Default)]
struct Done {
    ranges: u64,
    puts: u64,
    deletes: u64,
}

impl Done {
    fn count(&mut self, answer: &pb::TxnResponse) {
        use response_op::Response::{ResponseDeleteRange, ResponsePut, ResponseRange, ResponseTxn};
        for op in &answer.responses {
            match &op.response {
                Some(ResponseRange(_)) => self.ranges += 1,
                Some(ResponsePut(_)) => self.puts += 1,
                Some(ResponseDeleteRange(_)) => self.deletes += 1,
                Some(ResponseTxn(nested)) => self.count(nested),
                None => {}
            }
        }
    }
}

/// Bytes of keys and values that each branch would put.
struct PutBytes {
    success: usize,
    failure: usize,
}

/// For a statistic: of a nested transaction the larger branch is taken.
fn put_bytes(request: &pb::TxnRequest) -> PutBytes {
    let branch = |ops: &[pb::RequestOp]| {
        let bytes = |op: &pb::RequestOp| match &op.request {
            Some(request_op::Request::RequestPut(put)) => put.key.len() + put.value.len(),
            Some(request_op::Request::RequestTxn(nested)) => {
                let nested = put_bytes(nested);
                nested.success.max(nested.failure)
            }
            _ => 0,
        };
        ops.iter().map(bytes).sum()
    };
    PutBytes {
        success: branch(&request.success),
        failure: branch(&request.failure),
    }
}
