//! One file per gRPC service, and what they share: request checks, response
//! header, errors.

mod auth;
mod cluster;
mod election;
mod framed;
mod header;
mod keep_alive;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod range_stream;
pub mod status;
pub mod validate;
mod watch;

pub use range_stream::OpenStreams;

use crate::{layers::Direct, member::Member};
use std::sync::Arc;
use sternpost_proto::{
    etcdserverpb::{
        auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
        lease_server::LeaseServer, maintenance_server::MaintenanceServer,
    },
    v3electionpb::election_server::ElectionServer,
    v3lockpb::lock_server::LockServer,
};
use tonic::{codec::CompressionEncoding::Gzip, service::Routes};

/// All gRPC services of the client port.
pub fn routes(member: &Arc<Member>) -> axum::Router {
    let receive_max = member.config.grpc_receive_max();
    // Compressed requests are taken in; answers are not compressed, as etcd's
    // aren't unless the request was.
    macro_rules! server {
        ($server:ident, $service:expr) => {
            $server::new($service)
                .max_decoding_message_size(receive_max)
                .accept_compressed(Gzip)
        };
    }
    Routes::default()
        .add_service(server!(KvServer, kv::KvService(member.clone())))
        .add_service(watch::service(member))
        .add_service(server!(LeaseServer, lease::LeaseService(member.clone())))
        .add_service(server!(
            ClusterServer,
            cluster::ClusterService(member.clone())
        ))
        .add_service(server!(
            MaintenanceServer,
            maintenance::MaintenanceService(member.clone())
        ))
        .add_service(server!(AuthServer, auth::AuthService(member.clone())))
        .add_service(server!(LockServer, lock::LockService))
        .add_service(server!(ElectionServer, election::ElectionService))
        .into_axum_router()
}

/// The methods that most requests are for.
pub fn direct(member: &Arc<Member>) -> Direct {
    let kv = Arc::new(kv::KvService(member.clone()));
    macro_rules! method {
        ($direct:expr, $path:literal, $method:ident) => {{
            let kv = kv.clone();
            $direct.with($path, move |request| {
                let kv = kv.clone();
                async move { kv.$method(request.into_inner()).await }
            })
        }};
    }
    let direct = Direct::default();
    let ranges = kv.clone();
    let direct = direct.with_framed("/etcdserverpb.KV/Range", move |request| {
        let kv = ranges.clone();
        async move { kv.range_framed(request).await }
    });
    let direct = method!(direct, "/etcdserverpb.KV/Put", put_message);
    let direct = method!(direct, "/etcdserverpb.KV/DeleteRange", delete_message);
    let txns = kv.clone();
    let direct = direct.with_framed("/etcdserverpb.KV/Txn", move |request| {
        let kv = txns.clone();
        async move { kv.txn_framed(request).await }
    });
    let member = member.clone();
    direct.with_dialogue(
        "/etcdserverpb.Lease/LeaseKeepAlive",
        Arc::new(move |requests| keep_alive::answers(member.clone(), requests)),
    )
}

#[cfg(test)]
mod tests;
