//! One file per gRPC service, and what they share: request checks, response
//! header, errors.

use crate::member::Member;
use std::sync::Arc;

/// All gRPC services of the client port.
pub fn routes(_member: &Arc<Member>) -> axum::Router {
    unimplemented!()
}
