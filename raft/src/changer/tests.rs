use super::*;
use crate::types::log_id;

fn node(id: u64) -> (u64, Node) {
    let peer_urls = vec![format!("http://10.0.0.{id}:2380")];
    (
        id,
        Node {
            name: format!("m{id}"),
            peer_urls,
            ..Node::default()
        },
    )
}

/// Two voters and a learner.
fn last() -> StoredMembership {
    let membership = Membership::new(
        vec![BTreeSet::from([1, 2])],
        BTreeMap::from([node(1), node(2), node(3)]),
    );
    StoredMembership::new(Some(log_id(1, 4)), membership.unwrap())
}

fn after(change: MembershipChange) -> Result<Membership, MembershipError> {
    next(&change, &last(), |id| id == 9)
}

fn add(id: u64, url: &str, learners_max: Option<u64>) -> MembershipChange {
    MembershipChange::Add {
        id,
        peer_urls: vec![url.to_owned()],
        learners_max,
    }
}

fn voters(membership: &Membership) -> Vec<u64> {
    membership.voter_ids().collect()
}

#[test]
fn members_come_as_voters_or_learners() {
    let voter = after(add(4, "http://10.0.0.4:2380", None)).unwrap();
    assert_eq!(voters(&voter), [1, 2, 4]);
    let added = voter.get_node(&4).unwrap();
    assert_eq!(
        (added.name.as_str(), added.peer_urls.as_slice()),
        ("", &["http://10.0.0.4:2380".to_owned()][..])
    );
    let learner = after(add(4, "http://10.0.0.4:2380", Some(2))).unwrap();
    assert_eq!(voters(&learner), [1, 2]);
    assert_eq!(learner.learner_ids().collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn beside_a_single_voter_a_new_one_waits_for_its_vote() {
    let single = Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([node(1)]));
    let last = StoredMembership::new(Some(log_id(1, 4)), single.unwrap());
    let joins = next(&add(4, "http://10.0.0.4:2380", None), &last, |_| false).unwrap();
    assert_eq!(voters(&joins), [1]);
    assert!(joins.get_node(&4).unwrap().joining);
    let last = StoredMembership::new(Some(log_id(1, 5)), joins);
    // It takes no learner's place.
    let learner = add(5, "http://10.0.0.5:2380", Some(1));
    assert!(
        !next(&learner, &last, |_| false)
            .unwrap()
            .get_node(&5)
            .unwrap()
            .joining
    );
    let promote = MembershipChange::Promote { id: 4 };
    let both = next(&promote, &last, |_| false).unwrap();
    assert_eq!(voters(&both), [1, 4]);
    // openraft takes no change of a node together with one of the voters.
    assert_eq!(both.get_node(&4), last.membership().get_node(&4));
}

#[test]
fn what_stands_against_a_new_member_is_found_in_etcd_s_order() {
    let taken = "http://10.0.0.2:2380";
    let table = [
        (add(9, taken, Some(0)), MembershipError::Removed),
        (add(1, taken, Some(0)), MembershipError::Exists),
        (add(4, taken, Some(0)), MembershipError::PeerUrlExists),
        (
            add(4, "http://10.0.0.4:2380", Some(1)),
            MembershipError::TooManyLearners,
        ),
    ];
    for (change, error) in table {
        assert_eq!(after(change.clone()), Err(error), "{change:?}");
    }
}

#[test]
fn only_a_learner_is_promoted() {
    let promote = |id| after(MembershipChange::Promote { id });
    assert_eq!(voters(&promote(3).unwrap()), [1, 2, 3]);
    assert_eq!(promote(2), Err(MembershipError::NotLearner));
    assert_eq!(promote(7), Err(MembershipError::NotFound));
    assert_eq!(promote(9), Err(MembershipError::Removed));
}

#[test]
fn a_removed_member_is_no_learner_either() {
    let remove = |id| after(MembershipChange::Remove { id });
    let without = remove(2).unwrap();
    assert_eq!((voters(&without), without.get_node(&2)), (vec![1], None));
    assert_eq!(remove(7), Err(MembershipError::NotFound));
    let alone = StoredMembership::new(None, without);
    let last = MembershipChange::Remove { id: 1 };
    assert_eq!(
        next(&last, &alone, |_| false),
        Err(MembershipError::LastVoter)
    );
}

#[test]
fn an_update_changes_the_urls_alone() {
    let update = |id, url: &str| {
        after(MembershipChange::Update {
            id,
            peer_urls: vec![url.to_owned()],
        })
    };
    let moved = update(2, "http://10.0.0.22:2380").unwrap();
    let node = moved.get_node(&2).unwrap();
    assert_eq!(
        (node.name.as_str(), node.peer_urls.as_slice()),
        ("m2", &["http://10.0.0.22:2380".to_owned()][..])
    );
    assert_eq!(voters(&moved), [1, 2]);
    update(2, "http://10.0.0.2:2380").expect("its own URL is free");
    assert_eq!(
        update(2, "http://10.0.0.1:2380"),
        Err(MembershipError::PeerUrlExists)
    );
    assert_eq!(
        update(7, "http://10.0.0.1:2380"),
        Err(MembershipError::NotFound)
    );
}
