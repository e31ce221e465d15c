//! What the leader does for the other members beside replication: the service
//! `Duties` on the peer port, and the way to it.

mod counted;
mod leader;
mod port;
mod service;

pub use counted::CountedDial;
pub use leader::{Forwarded, LeaderLink, Leads};
pub use port::PeerCalls;
use service::DutiesService;

use crate::{api::status::ApiError, config::Config, metrics::Metrics};
use std::sync::Arc;
use sternpost_raft::peer::GrpcTransport;
use tonic::{Code, Status};

/// The way to other members, as the flags say, counted.
pub fn transport(config: &Config, metrics: &Metrics) -> GrpcTransport {
    let dial = CountedDial(metrics.traffic.clone());
    GrpcTransport::new(Arc::new(dial), config.election_timeout)
}

/// What became of a call to the leader.
#[derive(Debug)]
enum Refused {
    /// It was not carried out.
    Not,
    /// It may have been carried out.
    Perhaps,
    /// The leader's answer for the client.
    By(ApiError),
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        match ApiError::of(&status) {
            Some(ApiError::NotLeader) => Self::Not,
            Some(error) => Self::By(error),
            // Not ours to begin with: not reached, another cluster, removed.
            None if [
                Code::FailedPrecondition,
                Code::PermissionDenied,
                Code::Unimplemented,
            ]
            .contains(&status.code()) =>
            {
                Self::Not
            }
            None => Self::Perhaps,
        }
    }
}
