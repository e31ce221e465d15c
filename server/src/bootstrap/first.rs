//! A first start with `--initial-cluster-state=new`: every founding member
//! begins with the same list.

use super::{
    ask,
    ids::{self, Founding},
    join::same_urls,
};
use crate::config::{Config, Url, join_urls, names, urls_of};
use std::time::Duration;
use sternpost_proto::internal::Node;
use sternpost_raft::{Bootstrap, Identity};

/// How long the others may take to say whether the cluster runs already, as
/// in etcd.
const BOOTSTRAP_TIMEOUT: Duration = Duration::from_secs(1);

/// The log knows who this member is: the flags are not asked. Only where a
/// crash left it without an entry, what it should have begun with counts.
pub fn restart(config: &Config) -> Bootstrap {
    let (members, cluster_id) = ids::found(&config.initial_cluster, &config.initial_cluster_token);
    let member_id = own(config, &members).map_or(0, |member| member.id);
    Bootstrap::New {
        identity: Identity {
            member_id,
            cluster_id,
        },
        members: nodes(&members),
    }
}

/// Checks the flags, and that nobody knows this member already.
pub fn new_cluster(config: &Config) -> Result<Bootstrap, String> {
    let (members, cluster_id) = ids::found(&config.initial_cluster, &config.initial_cluster_token);
    let own = local(config, &members)?;
    check_advertised(config)?;
    check_duplicates(config)?;
    let others: Vec<String> = peer_urls_of_others(config, &members);
    let running = ask::all(&others, BOOTSTRAP_TIMEOUT);
    let known = running.iter().flat_map(|cluster| &cluster.members);
    let mut started = known
        .filter_map(|member| member.node.as_ref())
        .filter(|node| node.id == own.id && !node.client_urls.is_empty());
    if started.next().is_some() {
        return Err(already_started(config, own.id));
    }
    Ok(Bootstrap::New {
        identity: Identity {
            member_id: own.id,
            cluster_id,
        },
        members: nodes(&members),
    })
}

/// A member that has lost its data must not take part under its old ID: it
/// has forgotten what it has promised.
pub(super) fn already_started(config: &Config, id: u64) -> String {
    format!(
        "member {id:x} has already been bootstrapped: the cluster knows it, but its data directory {} is empty. \
         Bring the data back, or remove the member (etcdctl member remove {id:x}) and add it again",
        config.data_dir.display()
    )
}

/// The peer URLs of all members but this one, sorted.
pub(super) fn peer_urls_of_others(config: &Config, members: &[Founding]) -> Vec<String> {
    let others = members.iter().filter(|member| member.name != config.name);
    let mut urls: Vec<String> = others
        .flat_map(|member| member.peer_urls.iter().cloned())
        .collect();
    urls.sort_unstable();
    urls
}

/// This member among those listed.
pub(super) fn local<'a>(config: &Config, members: &'a [Founding]) -> Result<&'a Founding, String> {
    own(config, members).ok_or_else(|| {
        format!(
            "couldn't find local name {:?} in the initial cluster configuration",
            config.name
        )
    })
}

fn check_advertised(config: &Config) -> Result<(), String> {
    let (listed, advertised) = (
        urls_of(&config.initial_cluster, &config.name),
        &config.initial_advertise_peer_urls,
    );
    let texts = |urls: &[Url]| urls.iter().map(Url::to_string).collect::<Vec<_>>();
    if same_urls(&texts(&listed), &texts(advertised)).is_err() {
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
    Ok(())
}

fn own<'a>(config: &Config, members: &'a [Founding]) -> Option<&'a Founding> {
    members.iter().find(|member| member.name == config.name)
}

/// No URL may stand for two members.
pub(super) fn check_duplicates(config: &Config) -> Result<(), String> {
    let mut urls: Vec<String> = config
        .initial_cluster
        .iter()
        .map(|founder| founder.url.to_string())
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

/// As all founding members write them into their first entry: none has said yet
/// where clients reach it.
fn nodes(members: &[Founding]) -> Vec<Node> {
    let nodes = members.iter().map(|member| Node {
        id: member.id,
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        ..Node::default()
    });
    nodes.collect()
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
        new_cluster(config).err().unwrap()
    }

    #[test]
    fn a_single_member_starts() {
        let Ok(Bootstrap::New { identity, members }) = new_cluster(&Config::default()) else {
            panic!("no bootstrap")
        };
        assert_eq!(
            (identity.member_id, identity.cluster_id),
            (0x8e9e_05c5_2164_694d, 0xcdf8_1819_4e3a_8c32)
        );
        assert_eq!(members.len(), 1);
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
    fn the_order_of_advertised_urls_does_not_matter() {
        let mut config = config("a", "a=http://127.0.0.1:1,a=http://127.0.0.1:2");
        let urls = ["http://127.0.0.1:2", "http://127.0.0.1:1"];
        config.initial_advertise_peer_urls = urls.map(|url| Url::parse(url).unwrap()).into();
        new_cluster(&config).unwrap();
    }

    #[test]
    fn founding_members_agree_on_all_members() {
        // Nobody listens there, so nobody knows better.
        let cluster = "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3";
        let start = |name: &str, url: &str| {
            let mut config = config(name, cluster);
            config.initial_advertise_peer_urls = vec![Url::parse(url).unwrap()];
            let Ok(Bootstrap::New { identity, members }) = new_cluster(&config) else {
                panic!("no bootstrap")
            };
            (identity, members)
        };
        let (a, first) = start("a", "http://127.0.0.1:1");
        let (b, second) = start("b", "http://127.0.0.1:2");
        assert_eq!((a.cluster_id, &first), (b.cluster_id, &second));
        assert_ne!(a.member_id, b.member_id);
        assert_eq!(first.len(), 3);
    }
}
