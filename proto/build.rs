//! Compiles the .proto files with protox, so that no machine needs protoc.

use prost::Message as _;
use std::{env, fs, path::PathBuf};

const FILES: [&str; 11] = [
    "proto/etcd/kv.proto",
    "proto/etcd/auth.proto",
    "proto/etcd/rpc.proto",
    "proto/etcd/v3lock.proto",
    "proto/etcd/v3election.proto",
    "proto/internal/command.proto",
    "proto/internal/duties.proto",
    "proto/internal/peer.proto",
    "proto/internal/raft.proto",
    "proto/internal/snapshot.proto",
    "proto/internal/state.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto/etcd", "proto/internal"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let grpc = env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .bytes(".")
        .build_client(grpc)
        .build_server(grpc)
        .build_transport(grpc)
        .compile_fds(descriptors)?;
    Ok(())
}
