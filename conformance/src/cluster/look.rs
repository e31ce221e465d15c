//! What the members of a cluster say of it.

use super::{Cluster, START_LIMIT};
use crate::client::Client;
use crate::wait;
use std::time::Duration;
use sternpost_proto::etcdserverpb as pb;
use tonic::Status;

/// A member that takes longer to say how it is does not say.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// What all members of a cluster have in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The newest revision.
    pub revision: i64,
    /// Up to here it is compacted.
    pub compacted: i64,
    /// Of all keys and revisions between.
    pub hash: u32,
}

impl Cluster {
    /// The status of a member; none when it does not answer.
    pub async fn status(&self, nth: usize) -> Option<pb::StatusResponse> {
        let mut client = self.client(nth);
        let answer = client.maintenance.status(pb::StatusRequest::default());
        let answer = tokio::time::timeout(ANSWER_LIMIT, answer).await.ok()?;
        Some(answer.ok()?.into_inner())
    }

    /// The id of a member that runs.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn id(&self, nth: usize) -> u64 {
        let status = wait::until_async("a member's status", START_LIMIT, || self.status(nth));
        status
            .await
            .header
            .expect("an answer has a header")
            .member_id
    }

    /// `--initial-cluster` for a member that joins, as a running member tells it. Without a
    /// quorum only a list that is not `linearizable` can be had; that one may be too old to
    /// hold whoever was just added.
    ///
    /// # Panics
    /// When none answers.
    pub async fn known_cluster(&self, joining: usize, linearizable: bool) -> String {
        let members = wait::until_async("a list of the members", START_LIMIT, || async {
            let nth = self.running().first().copied()?;
            let request = pb::MemberListRequest { linearizable };
            let answer = self.client(nth).cluster.member_list(request).await;
            Some(answer.ok()?.into_inner().members)
        })
        .await;
        let own = self.urls(joining).0;
        let words = members.into_iter().flat_map(|member| {
            let (name, urls) = (member.name, member.peer_ur_ls);
            let name = if urls.contains(&own) {
                super::member::name(joining)
            } else {
                name
            };
            urls.into_iter().map(move |url| format!("{name}={url}"))
        });
        words.collect::<Vec<String>>().join(",")
    }

    /// The leader, if all running members name the same, and it is one of them.
    pub async fn leader(&self) -> Option<usize> {
        let mut leader = None;
        let mut term = 0;
        let mut ids = Vec::new();
        for nth in self.running() {
            let status = self.status(nth).await?;
            ids.push((status.header?.member_id, nth));
            let known = *leader.get_or_insert(status.leader);
            term = term.max(status.raft_term);
            if status.leader == 0 || known != status.leader || status.raft_term != term {
                return None;
            }
        }
        let leader = leader?;
        ids.iter()
            .find(|(id, _)| *id == leader)
            .map(|(_, nth)| *nth)
    }

    /// Waits for [`Self::leader`].
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn wait_leader(&self) -> usize {
        wait::until_async("a leader that all know", START_LIMIT, || self.leader()).await
    }

    /// A running member that does not lead.
    ///
    /// # Panics
    /// When there is no leader in time, or no follower.
    pub async fn follower(&self) -> usize {
        let leader = self.wait_leader().await;
        let mut others = self.running().into_iter().filter(|nth| *nth != leader);
        others.next().expect("a follower is running")
    }

    /// Hands the leadership to a running member, and waits until all know.
    ///
    /// # Panics
    /// When it does not get it.
    pub async fn make_leader(&self, nth: usize) {
        let target_id = self.id(nth).await;
        wait::until_async("the leadership where it is wanted", START_LIMIT, || async {
            let leader = self.leader().await?;
            if leader == nth {
                return Some(());
            }
            let request = pb::MoveLeaderRequest { target_id };
            let mut client = self.client(leader);
            let _ = client.maintenance.move_leader(request).await;
            None
        })
        .await;
    }

    /// As an operator does with a member that has lost its data: removes it by its id, adds it
    /// again, and starts it.
    ///
    /// # Panics
    /// When the others refuse for long.
    pub async fn replace(&mut self, nth: usize, id: u64) {
        let url = self.urls(nth).0;
        let asked = self.client(self.wait_leader().await);
        wait::until_async("the removal of a member", START_LIMIT, || {
            let mut client = asked.cluster.clone();
            async move {
                let request = pb::MemberRemoveRequest { id };
                match client.member_remove(request).await {
                    Ok(_) => Some(()),
                    Err(status) => (status.code() == tonic::Code::NotFound).then_some(()),
                }
            }
        })
        .await;
        wait::until_async("the addition of a member", START_LIMIT, || {
            let (mut client, url) = (asked.cluster.clone(), url.clone());
            async move {
                let request = pb::MemberAddRequest {
                    peer_ur_ls: vec![url],
                    is_learner: false,
                };
                match client.member_add(request).await {
                    Ok(_) => Some(()),
                    // An answer that was lost: it is there.
                    Err(status) => status.message().contains("already exist").then_some(()),
                }
            }
        })
        .await;
        self.rejoins(nth).await;
        self.spawn(nth);
    }

    /// Waits until all running members have the same revision and hash.
    ///
    /// # Panics
    /// When they do not.
    pub async fn wait_equal(&self) -> Digest {
        let mut last = Vec::new();
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        loop {
            let digests = self.digests().await;
            if let Ok(digests) = &digests {
                let first = digests[0];
                if digests.iter().all(|digest| *digest == first) {
                    return first;
                }
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "the members of {} do not become equal: {last:?}, {digests:?}",
                self.name()
            );
            last.push(digests);
            last.drain(..last.len().saturating_sub(2));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The digest of every running member, at its own newest revision.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn digests(&self) -> Result<Vec<Digest>, Status> {
        let mut digests = Vec::new();
        for nth in self.running() {
            digests.push(digest(&mut self.client(nth)).await?);
        }
        Ok(digests)
    }
}

async fn digest(client: &mut Client) -> Result<Digest, Status> {
    let request = pb::HashKvRequest { revision: 0 };
    let mut request = tonic::Request::new(request);
    request.set_timeout(ANSWER_LIMIT * 5);
    let reply = client.maintenance.hash_kv(request).await?.into_inner();
    Ok(Digest {
        revision: reply.hash_revision,
        compacted: reply.compact_revision,
        hash: reply.hash,
    })
}
