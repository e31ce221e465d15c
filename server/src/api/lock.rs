//! Lock: not built yet.

use super::status::not_built;
use sternpost_proto::v3lockpb::{
    LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server::Lock,
};
use tonic::{Request, Response, Status};

/// The service.
pub struct LockService;

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, _: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        Err(not_built("Lock.Lock"))
    }

    async fn unlock(&self, _: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        Err(not_built("Lock.Unlock"))
    }
}
