//! Tells the cluster this member's name and client URLs, at each start if
//! they changed, and decides the cluster version.

use super::{CLUSTER_VERSION, Member};
use crate::api::status::ApiError;
use std::{sync::Arc, time::Duration};
use sternpost_proto::internal::{ClusterVersion, MemberAttributes, MemberRecord, command::Verb};
use sternpost_storage::MemberId;

/// The rest after a failed attempt.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// Publishes until it is done. Each step looks at the state first, so that a
/// step whose outcome was unknown is not taken twice.
pub(super) async fn run(member: Arc<Member>) {
    while let Err(error) = step_all(&member).await {
        tracing::warn!(
            error = error.text(),
            "publishing this member failed; trying again"
        );
        tokio::time::sleep(RETRY_EVERY).await;
    }
    member.published.cancel();
    decide_version(&member).await;
}

/// A leader that finds no version decides it: whoever did before may have lost
/// the lead over it.
async fn decide_version(member: &Member) {
    let mut leadership = member.node.leadership();
    loop {
        while !is_decided(member) && member.leadership.leading_term().is_some() {
            if let Err(error) = propose_version(member).await {
                tracing::warn!(
                    error = error.text(),
                    "the cluster version is not decided yet"
                );
                tokio::time::sleep(RETRY_EVERY).await;
            }
        }
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

fn is_decided(member: &Member) -> bool {
    member.node.reads().view().cluster_version().is_some()
}

async fn propose_version(member: &Member) -> Result<(), ApiError> {
    let version = ClusterVersion {
        version: CLUSTER_VERSION.to_owned(),
    };
    member.propose(Verb::ClusterVersion(version)).await?;
    Ok(())
}

async fn step_all(member: &Member) -> Result<(), ApiError> {
    member.read_index().await?;
    let view = member.node.reads().view();
    let own = MemberId(member.identity.member_id);
    let known = view
        .members()
        .iter()
        .find(|(id, _)| *id == own)
        .map(|(_, record)| record);
    let attributes = attributes(member);
    let is_known = known.is_some_and(|record| matches(record, &attributes));
    let has_version = view.cluster_version().is_some();
    drop(view);
    if !is_known {
        tracing::info!(name = attributes.name, client_urls = ?attributes.client_urls, "publishing this member");
        member.propose(Verb::MemberAttributes(attributes)).await?;
    }
    if !has_version && member.leadership.leading_term().is_some() {
        propose_version(member).await?;
    }
    Ok(())
}

fn attributes(member: &Member) -> MemberAttributes {
    let mut client_urls: Vec<String> = member
        .config
        .advertise_client_urls
        .iter()
        .map(ToString::to_string)
        .collect();
    client_urls.sort_unstable();
    MemberAttributes {
        member_id: member.identity.member_id,
        name: member.config.name.clone(),
        client_urls,
    }
}

fn matches(record: &MemberRecord, attributes: &MemberAttributes) -> bool {
    record.name == attributes.name && record.client_urls == attributes.client_urls
}
