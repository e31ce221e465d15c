//! A first start with `--initial-cluster-state=existing`: a member that was
//! added to a running cluster finds out who it is there.

use super::{
    ask,
    first::{already_started, check_duplicates, local, peer_urls_of_others},
    ids::{self, Founding},
};
use crate::config::Config;
use std::{collections::BTreeSet, fmt::Write as _, net::ToSocketAddrs as _, time::Duration};
use sternpost_proto::internal::{ClusterMember, MembersResponse, Node};
use sternpost_raft::{Bootstrap, Identity};

/// How long a listed member may take to answer, as in etcd.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Asks the listed members, and checks the list against what they say.
pub fn existing_cluster(config: &Config) -> Result<Bootstrap, String> {
    let (listed, _) = ids::found(&config.initial_cluster, &config.initial_cluster_token);
    local(config, &listed)?;
    check_duplicates(config)?;
    let others = peer_urls_of_others(config, &listed);
    let running = ask::first(&others, ANSWER_MAX).ok_or_else(|| {
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs"
            .to_owned()
    })?;
    identify(config, &listed, &running)
}

/// Who of the running cluster's members this one is.
fn identify(
    config: &Config,
    listed: &[Founding],
    running: &MembersResponse,
) -> Result<Bootstrap, String> {
    let own = matching(config, listed, running)
        .map_err(|why| format!("error validating peerURLs {}: {why}", in_go(running)))?;
    let learners = running.members.iter().filter(|member| member.is_learner);
    if learners.count() as u64 > config.max_learners {
        return Err("too many learner members in cluster".to_owned());
    }
    if !own.client_urls.is_empty() {
        return Err(already_started(config, own.id));
    }
    Ok(Bootstrap::Join {
        identity: Identity {
            member_id: own.id,
            cluster_id: running.cluster_id,
        },
    })
}

/// Each running member must be listed with its peer URLs; this one is the one
/// that is listed under this member's name.
fn matching<'a>(
    config: &Config,
    listed: &[Founding],
    running: &'a MembersResponse,
) -> Result<&'a Node, String> {
    let nodes: Vec<&Node> = running
        .members
        .iter()
        .filter_map(|m| m.node.as_ref())
        .collect();
    if nodes.len() != listed.len() {
        return Err("member count is unequal".to_owned());
    }
    let mut own = None;
    for node in nodes {
        let mut last = String::new();
        let found = listed.iter().find(|member| {
            same_urls(&node.peer_urls, &member.peer_urls).map_err(|why| last = why) == Ok(())
        });
        match found {
            Some(member) if member.name == config.name => own = Some(node),
            Some(_) => {}
            None => {
                return Err(format!(
                    "PeerURLs: no match found for existing member ({:x}, [{}]), last resolver error ({last})",
                    node.id,
                    node.peer_urls.join(" ")
                ));
            }
        }
    }
    own.ok_or_else(|| "this member's peer URLs are those of another one".to_owned())
}

/// Compares two lists, by the addresses they stand for where they differ.
pub(super) fn same_urls(one: &[String], other: &[String]) -> Result<(), String> {
    if one.len() != other.len() {
        return Err(format!("len({}) != len({})", quoted(one), quoted(other)));
    }
    let sorted = |urls: &[String]| urls.iter().cloned().collect::<BTreeSet<_>>();
    let resolved = |urls: &[String]| urls.iter().map(|url| resolve(url)).collect::<BTreeSet<_>>();
    let (mut one, mut other) = (sorted(one), sorted(other));
    if one != other {
        (one, other) = (
            resolved(&Vec::from_iter(one)),
            resolved(&Vec::from_iter(other)),
        );
    }
    match one.iter().zip(&other).find(|(one, other)| one != other) {
        Some((one, other)) => Err(format!("resolved urls: {one:?} != {other:?}")),
        None => Ok(()),
    }
}

/// The URL with its host as an address, if it has one that is known. As in
/// etcd, `localhost` stays as it is.
fn resolve(url: &str) -> String {
    let Some((scheme, authority)) = url.split_once("://") else {
        return url.to_owned();
    };
    let by_name = scheme.starts_with("http") && !authority.starts_with("localhost:");
    let mut found = by_name.then(|| authority.to_socket_addrs().ok()).flatten();
    match found.as_mut().and_then(Iterator::next) {
        Some(address) => format!("{scheme}://{address}"),
        None => url.to_owned(),
    }
}

fn quoted(urls: &[String]) -> String {
    let urls: Vec<String> = urls.iter().map(|url| format!("{url:?}")).collect();
    format!("[{}]", urls.join(" "))
}

/// The cluster as etcd prints it.
fn in_go(running: &MembersResponse) -> String {
    let mut text = format!("{{ClusterID:{:x} Members:[", running.cluster_id);
    for (at, ClusterMember { node, is_learner }) in running.members.iter().enumerate() {
        let Some(node) = node else { continue };
        let _ = write!(
            text,
            "{}&{{ID:{:x} RaftAttributes:{{PeerURLs:[{}] IsLearner:{is_learner}}} \
             Attributes:{{Name:{} ClientURLs:[{}]}}}}",
            if at == 0 { "" } else { " " },
            node.id,
            node.peer_urls.join(" "),
            node.name,
            node.client_urls.join(" ")
        );
    }
    text + "] RemovedMemberIDs:[]}"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(joined: bool) -> MembersResponse {
        let member = |id, name: &str, url: &str| {
            let client_urls = match name {
                "" => Vec::new(),
                _ => vec!["http://127.0.0.1:2379".to_owned()],
            };
            ClusterMember {
                node: Some(Node {
                    id,
                    name: name.to_owned(),
                    peer_urls: vec![url.to_owned()],
                    client_urls,
                    joining: false,
                }),
                is_learner: name.is_empty(),
            }
        };
        MembersResponse {
            cluster_id: 0xcdf,
            members: vec![
                member(0xa, "m1", "http://127.0.0.1:1"),
                member(0xb, if joined { "m2" } else { "" }, "http://127.0.0.1:2"),
            ],
            ..Default::default()
        }
    }

    fn outcome(cluster: &str, running: &MembersResponse) -> Result<Identity, String> {
        let config = Config {
            name: "m2".to_owned(),
            data_dir: "/data".into(),
            initial_cluster: Config::parse_cluster(cluster).unwrap(),
            ..Config::default()
        };
        let (listed, _) = ids::found(&config.initial_cluster, &config.initial_cluster_token);
        identify(&config, &listed, running).map(|bootstrap| bootstrap.identity())
    }

    #[test]
    fn a_joining_member_learns_who_it_is() {
        let identity = outcome(
            "m1=http://127.0.0.1:1,m2=http://127.0.0.1:2",
            &running(false),
        );
        assert_eq!(
            identity,
            Ok(Identity {
                member_id: 0xb,
                cluster_id: 0xcdf
            })
        );
    }

    #[test]
    fn a_list_that_does_not_fit_is_refused_in_etcd_s_words() {
        let cluster = "{ClusterID:cdf Members:[&{ID:a RaftAttributes:{PeerURLs:[http://127.0.0.1:1] IsLearner:false} \
                       Attributes:{Name:m1 ClientURLs:[http://127.0.0.1:2379]}} \
                       &{ID:b RaftAttributes:{PeerURLs:[http://127.0.0.1:2] IsLearner:true} \
                       Attributes:{Name: ClientURLs:[]}}] RemovedMemberIDs:[]}";
        let table = [
            ("m2=http://127.0.0.1:2", "member count is unequal"),
            (
                "m1=http://127.0.0.1:1,m2=http://127.0.0.1:3",
                "PeerURLs: no match found for existing member (b, [http://127.0.0.1:2]), last resolver error \
                 (resolved urls: \"http://127.0.0.1:2\" != \"http://127.0.0.1:3\")",
            ),
            (
                "m1=http://127.0.0.1:1,m2=http://127.0.0.1:2,m2=http://127.0.0.1:3",
                "PeerURLs: no match found for existing member (b, [http://127.0.0.1:2]), last resolver error \
                 (len([\"http://127.0.0.1:2\"]) != len([\"http://127.0.0.1:2\" \"http://127.0.0.1:3\"]))",
            ),
        ];
        for (list, why) in table {
            let expected = format!("error validating peerURLs {cluster}: {why}");
            assert_eq!(outcome(list, &running(false)), Err(expected), "{list}");
        }
    }

    #[test]
    fn a_member_without_its_data_is_refused() {
        let refusal = outcome(
            "m1=http://127.0.0.1:1,m2=http://127.0.0.1:2",
            &running(true),
        );
        let text = refusal.unwrap_err();
        assert!(
            text.starts_with("member b has already been bootstrapped"),
            "{text}"
        );
        assert!(text.contains("etcdctl member remove b"), "{text}");
    }

    #[test]
    fn names_are_compared_by_their_addresses() {
        let urls = |url: &str| vec![url.to_owned()];
        assert_eq!(
            same_urls(&urls("http://127.0.0.1:1"), &urls("http://127.0.0.1:1")),
            Ok(())
        );
        assert_eq!(
            same_urls(&urls("http://[::1]:1"), &urls("http://[0:0::1]:1")),
            Ok(())
        );
        same_urls(&urls("http://127.0.0.1:1"), &urls("https://127.0.0.1:1")).unwrap_err();
    }
}
