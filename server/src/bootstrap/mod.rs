//! Data directory, initial cluster, IDs as etcd computes them; first start
//! and restart.

mod data_dir;
mod ids;
mod observe;

pub use data_dir::DataDir;

use crate::{
    config::{ClusterState, Config, join_urls, names, urls_of},
    metrics::Metrics,
};
use ids::Founding;
use observe::Reporter;
use std::sync::Arc;
use sternpost_proto::internal::Node;
use sternpost_raft::{Bootstrap, Identity, NodeOptions, RaftNode, peer::GrpcTransport};
use sternpost_storage::{Durability, StorageOptions};

/// Opens the node in a data directory. The error is one sentence.
pub fn open_node(config: &Config, dir: &DataDir, metrics: &Metrics) -> Result<RaftNode, String> {
    let bootstrap = if dir.initialized {
        restart(config)
    } else {
        first_start(config)?
    };
    let durability = if config.unsafe_no_fsync {
        Durability::UnsafeNoFsync
    } else {
        Durability::Synced
    };
    let options = NodeOptions {
        wal_dir: dir.wal.clone(),
        storage: StorageOptions {
            durability,
            ..StorageOptions::at(&dir.state)
        },
        bootstrap,
        force_new_cluster: config.force_new_cluster,
        heartbeat_interval: config.heartbeat_interval,
        election_timeout: config.election_timeout,
        snapshot_entries: config.snapshot_count,
        catchup_entries: config.snapshot_catchup_entries,
        unsafe_no_fsync: config.unsafe_no_fsync,
        compaction_batch: config.compaction_batch(),
        compaction_sleep: config.compaction_sleep(),
        transport: Arc::new(GrpcTransport::plain(config.election_timeout)),
        observer: Arc::new(Reporter::new(
            metrics.clone(),
            config.warning_apply_duration,
        )),
    };
    RaftNode::open(options).map_err(|error| error.to_string())
}

/// The log knows who this member is: the flags are not asked.
fn restart(config: &Config) -> Bootstrap {
    let (members, cluster_id) = ids::found(&config.initial_cluster, &config.initial_cluster_token);
    let member_id = own(config, &members).map_or(0, |member| member.id);
    Bootstrap::New {
        identity: Identity {
            member_id,
            cluster_id,
        },
        members: nodes(config, &members),
    }
}

fn first_start(config: &Config) -> Result<Bootstrap, String> {
    if config.initial_cluster_state == ClusterState::Existing {
        return Err("joining a running cluster (--initial-cluster-state=existing) is not built yet in this version".to_owned());
    }
    let (members, cluster_id) = ids::found(&config.initial_cluster, &config.initial_cluster_token);
    let own = own(config, &members).ok_or_else(|| {
        format!(
            "couldn't find local name {:?} in the initial cluster configuration",
            config.name
        )
    })?;
    duplicates(config, &members)?;
    let (listed, advertised) = (
        urls_of(&config.initial_cluster, &config.name),
        &config.initial_advertise_peer_urls,
    );
    if listed != *advertised {
        let entries: Vec<String> = listed
            .iter()
            .map(|url| format!("{}={url}", config.name))
            .collect();
        let missing = listed.iter().any(|url| !advertised.contains(url));
        return Err(if missing {
            format!(
                "--initial-cluster has {} but missing from --initial-advertise-peer-urls={} (resolved urls: {:?} != {:?})",
                entries.join(","),
                join_urls(advertised),
                join_urls(advertised),
                join_urls(&listed),
            )
        } else {
            format!(
                "--initial-advertise-peer-urls has {} but missing from --initial-cluster={} (resolved urls: {:?} != {:?})",
                join_urls(advertised),
                entries.join(","),
                join_urls(advertised),
                join_urls(&listed),
            )
        });
    }
    if members.len() > 1 {
        return Err(format!(
            "a cluster of {} members (--initial-cluster) is not built yet in this version: it runs a single member",
            members.len()
        ));
    }
    Ok(Bootstrap::New {
        identity: Identity {
            member_id: own.id,
            cluster_id,
        },
        members: nodes(config, &members),
    })
}

fn own<'a>(config: &Config, members: &'a [Founding]) -> Option<&'a Founding> {
    members.iter().find(|member| member.name == config.name)
}

fn duplicates(config: &Config, members: &[Founding]) -> Result<(), String> {
    let mut urls: Vec<&String> = members
        .iter()
        .flat_map(|member| &member.peer_urls)
        .collect();
    urls.sort_unstable();
    if urls.windows(2).any(|pair| pair[0] == pair[1]) {
        let entries = names(&config.initial_cluster).into_iter().flat_map(|name| {
            urls_of(&config.initial_cluster, name)
                .into_iter()
                .map(move |url| format!("{name}={url}"))
        });
        return Err(format!(
            "initial cluster {} has duplicate url",
            entries.collect::<Vec<_>>().join(",")
        ));
    }
    Ok(())
}

fn nodes(config: &Config, members: &[Founding]) -> Vec<Node> {
    members
        .iter()
        .map(|member| Node {
            id: member.id,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            client_urls: if member.name == config.name {
                config
                    .advertise_client_urls
                    .iter()
                    .map(ToString::to_string)
                    .collect()
            } else {
                Vec::new()
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, cluster: &str) -> Config {
        Config {
            name: name.to_owned(),
            initial_cluster: Config::parse_cluster(cluster).unwrap(),
            ..Config::default()
        }
    }

    fn refusal(config: &Config) -> String {
        first_start(config).err().unwrap()
    }

    #[test]
    fn a_single_member_starts() {
        let Ok(Bootstrap::New { identity, members }) = first_start(&Config::default()) else {
            panic!("no bootstrap")
        };
        assert_eq!(
            (identity.member_id, identity.cluster_id),
            (0x8e9e_05c5_2164_694d, 0xcdf8_1819_4e3a_8c32)
        );
        assert_eq!(
            (members.len(), members[0].client_urls.as_slice()),
            (1, &["http://localhost:2379".to_owned()][..])
        );
    }

    #[test]
    fn mistakes_get_etcd_s_words() {
        let table = [
            (
                config("default", "a=http://1.2.3.4:2380"),
                "couldn't find local name \"default\" in the initial cluster configuration",
            ),
            (
                config("default", "default=http://1.2.3.4:2380"),
                "--initial-cluster has default=http://1.2.3.4:2380 but missing from \
                 --initial-advertise-peer-urls=http://localhost:2380 (resolved urls: \"http://localhost:2380\" != \
                 \"http://1.2.3.4:2380\")",
            ),
            (
                config(
                    "default",
                    "default=http://localhost:2380,b=http://localhost:2380",
                ),
                "initial cluster b=http://localhost:2380,default=http://localhost:2380 has duplicate url",
            ),
        ];
        for (config, expected) in table {
            assert_eq!(refusal(&config), expected);
        }
    }

    #[test]
    fn what_is_not_built_is_refused() {
        let joining = Config {
            initial_cluster_state: ClusterState::Existing,
            ..Config::default()
        };
        assert!(refusal(&joining).contains("not built yet"));
        let three = config(
            "default",
            "default=http://localhost:2380,b=http://10.0.0.2:2380",
        );
        assert!(refusal(&three).contains("not built yet"));
    }
}
