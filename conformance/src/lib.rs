//! Black box: everything here speaks gRPC or HTTP to a server that runs as a
//! process of its own, ours or the reference etcd, and never links either.
//!
//! * [`target`]: one interface over our binary, the reference and a given endpoint;
//! * [`client`] and [`http`]: how tests talk to one;
//! * [`differential`]: the same random operations to two servers, answers compared;
//! * [`etcdctl`]: the unmodified etcdctl against both, output compared;
//! * [`ledger`]: load with a record of what was promised, and the check after a crash;
//! * [`cluster`]: several members of either server;
//! * [`network`]: hosts on this machine whose links can be cut, slow or lossy;
//! * [`robustness`]: traffic on a cluster that is hurt meanwhile, and what its clients may believe;
//! * [`compose`]: the members of `docker-compose.yml` as local processes;
//! * [`power`]: a file system that can lose power;
//! * [`disk`]: file operations that fail on cue, and damaged copies of a data directory;
//! * [`failpoints`]: places in a server built for it that end it or hold it up;
//! * [`preload`]: libraries of ours in front of the C library's calls;
//! * [`metrics`]: the shape of a Prometheus page;
//! * [`measure`]: what the benchmark binary reads from processes and load tools.

pub mod binaries;
pub mod client;
pub mod cluster;
pub mod compose;
pub mod differential;
pub mod disk;
pub mod etcdctl;
pub mod failpoints;
pub mod http;
pub mod ledger;
pub mod measure;
pub mod metrics;
pub mod network;
pub mod power;
pub mod preload;
pub mod process;
pub mod robustness;
pub mod target;
pub mod wait;
