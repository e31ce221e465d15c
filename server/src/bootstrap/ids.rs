//! Member and cluster IDs, as etcd computes them: whoever knows the founding
//! members and the token can say who is who.

use crate::config::{Founder, names, urls_of};
use sha1::{Digest as _, Sha1};

fn first_eight(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    let first = digest.first_chunk::<8>().expect("SHA-1 has 20 bytes");
    u64::from_be_bytes(*first)
}

/// A founding member's ID, from its peer URLs (sorted) and the token.
pub fn member_id(peer_urls: &[String], token: &str) -> u64 {
    let mut hash = Sha1::new();
    for url in peer_urls {
        hash.update(url);
    }
    hash.update(token);
    first_eight(hash)
}

/// The ID of a member that is added at a time, in seconds since 1970, from its
/// peer URLs, sorted.
pub fn added_member_id(peer_urls: &[String], unix_secs: u64) -> u64 {
    member_id(peer_urls, &unix_secs.to_string())
}

/// The cluster's ID, from its members'.
pub fn cluster_id(member_ids: &[u64]) -> u64 {
    let mut sorted = member_ids.to_vec();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for id in sorted {
        hash.update(id.to_be_bytes());
    }
    first_eight(hash)
}

/// A founding member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// Its ID.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its peer URLs, sorted.
    pub peer_urls: Vec<String>,
}

/// All founding members, by name, and the cluster's ID.
pub fn found(founders: &[Founder], token: &str) -> (Vec<Founding>, u64) {
    let members: Vec<Founding> = names(founders)
        .into_iter()
        .map(|name| {
            let peer_urls: Vec<String> = urls_of(founders, name)
                .iter()
                .map(ToString::to_string)
                .collect();
            Founding {
                id: member_id(&peer_urls, token),
                name: name.to_owned(),
                peer_urls,
            }
        })
        .collect();
    let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    let cluster = cluster_id(&ids);
    (members, cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// What etcd 3.7.1 logs for these flags.
    #[test]
    fn ids_are_etcd_s() {
        let table = [
            (
                "default=http://localhost:2380",
                "etcd-cluster",
                "default",
                0x8e9e_05c5_2164_694d,
                0xcdf8_1819_4e3a_8c32,
            ),
            (
                "default=http://localhost:2380",
                "tkn",
                "default",
                0x7339_c4e5_e833_c029,
                0x2b13_f7f9_862a_fef6,
            ),
            (
                "m1=http://127.0.0.1:23991",
                "etcd-cluster",
                "m1",
                0x24e2_ba8d_9dc7_b432,
                0x2f27_36e7_a810_8e3f,
            ),
            (
                "a=http://127.0.0.1:23991,a=http://127.0.0.1:1,b=http://127.0.0.1:5",
                "etcd-cluster",
                "a",
                0x801b_3fdf_33f6_fd36,
                0xe8f9_f86e_42fb_cceb,
            ),
            (
                "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=https://10.0.0.3:2380",
                "",
                "b",
                0xfc94_4042_34b6_cb72,
                0x8c93_4caf_553e_51c1,
            ),
        ];
        for (cluster, token, name, member, cluster_id) in table {
            let (members, id) = found(&Config::parse_cluster(cluster).unwrap(), token);
            let own = members.iter().find(|member| member.name == name).unwrap();
            assert_eq!((own.id, id), (member, cluster_id), "{cluster} {token}");
        }
    }
}
