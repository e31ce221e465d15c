//! The countdown, with time turned by hand.

use super::*;
use sternpost_storage::LeaseId;

/// A millisecond of the clock.
const MS: u64 = 1000;
const DAY_SECS: i64 = 24 * 3600;

fn lease(id: i64, ttl_secs: i64) -> LeaseInfo {
    LeaseInfo {
        id: LeaseId(id),
        ttl_secs,
        remaining_secs: 0,
    }
}

fn with_checkpoint(id: i64, ttl_secs: i64, remaining_secs: i64) -> LeaseInfo {
    LeaseInfo {
        remaining_secs,
        ..lease(id, ttl_secs)
    }
}

fn granted(leases: &[LeaseInfo]) -> Countdown {
    let countdown = Countdown::new(true);
    leases.iter().for_each(|lease| countdown.granted(lease, 0));
    countdown
}

#[test]
fn a_lease_expires_after_its_ttl_and_not_before() {
    let countdown = granted(&[lease(1, 5)]);
    assert!(countdown.take_expired(10, 4999 * MS).is_empty());
    assert_eq!(countdown.take_expired(10, 5000 * MS), [1]);
    assert!(
        countdown.take_expired(10, 9000 * MS).is_empty(),
        "it is taken once"
    );
}

#[test]
fn a_renewal_starts_the_ttl_again() {
    let countdown = granted(&[lease(1, 5), lease(2, 5)]);
    assert_eq!(countdown.renew(1, 4999 * MS), Renewal::Renewed(5));
    assert_eq!(countdown.take_expired(10, 5000 * MS), [2]);
    assert!(countdown.take_expired(10, 9998 * MS).is_empty());
    assert_eq!(countdown.take_expired(10, 9999 * MS), [1]);
}

#[test]
fn an_expired_lease_is_never_renewed() {
    let countdown = granted(&[lease(1, 5)]);
    assert_eq!(
        countdown.renew(1, 5000 * MS),
        Renewal::Expired,
        "nobody has looked yet"
    );
    assert_eq!(countdown.take_expired(10, 5000 * MS), [1]);
    assert_eq!(countdown.renew(1, 5001 * MS), Renewal::Expired);
    countdown.retry_expiry(1, 8000 * MS);
    assert_eq!(
        countdown.renew(1, 7000 * MS),
        Renewal::Expired,
        "its revoke may still be applied"
    );
    assert!(countdown.take_expired(10, 7999 * MS).is_empty());
    assert_eq!(countdown.take_expired(10, 8000 * MS), [1]);
    countdown.revoked(1);
    assert_eq!(countdown.renew(1, 8001 * MS), Renewal::Unknown);
}

#[test]
fn a_pile_of_expired_leases_is_taken_in_parts() {
    let leases: Vec<LeaseInfo> = (1..=1000).map(|id| lease(id, 5)).collect();
    let countdown = granted(&leases);
    let mut taken = countdown.take_expired(400, 6000 * MS);
    assert_eq!(taken.len(), 400);
    taken.extend(countdown.take_expired(1000, 6000 * MS));
    taken.sort_unstable();
    assert_eq!(taken, (1..=1000).collect::<Vec<_>>());
}

#[test]
fn what_is_left_is_told_also_below_zero() {
    let countdown = granted(&[lease(-7, 60)]);
    assert_eq!(countdown.remaining(-7, MS), Some((59_999_000, 60)));
    assert_eq!(countdown.remaining(-7, 61_500 * MS), Some((-1_500_000, 60)));
    assert_eq!(countdown.remaining(7, 0), None);
}

#[test]
fn leases_are_listed_by_what_they_have_left() {
    let countdown = granted(&[lease(1, 30), lease(2, 10), lease(3, 20)]);
    assert_eq!(countdown.by_deadline(), [2, 3, 1]);
    countdown.renew(2, 25_000 * MS);
    assert_eq!(countdown.renew(2, 5000 * MS), Renewal::Renewed(10));
    assert_eq!(countdown.by_deadline(), [2, 3, 1]);
}

#[test]
fn a_new_leader_gives_each_lease_all_its_time_and_more() {
    let countdown = Countdown::new(true);
    countdown.reconcile(
        &[lease(1, 10), with_checkpoint(2, 1000, 4)],
        1000 * MS,
        500 * MS,
    );
    assert_eq!(countdown.remaining(1, 500 * MS), Some((11_000_000, 10)));
    assert_eq!(
        countdown.remaining(2, 500 * MS),
        Some((5_000_000, 1000)),
        "a checkpoint stands for the time gone by"
    );
    countdown.clear();
    assert_eq!(countdown.len(), 0);
}

#[test]
fn after_a_gap_known_leases_keep_their_deadline() {
    let countdown = granted(&[lease(1, 10), lease(2, 10), lease(3, 10)]);
    countdown.reconcile(&[lease(1, 10), lease(3, 99), lease(4, 10)], 0, 5000 * MS);
    assert_eq!(countdown.remaining(1, 5000 * MS), Some((5_000_000, 10)));
    assert_eq!(countdown.renew(2, 5000 * MS), Renewal::Unknown);
    assert_eq!(
        countdown.remaining(3, 5000 * MS),
        Some((99_000_000, 99)),
        "another lease under an old ID"
    );
    assert_eq!(countdown.remaining(4, 5000 * MS), Some((10_000_000, 10)));
    assert_eq!(
        countdown.take_expired(10, 10_000 * MS),
        [1],
        "nor does it end with the old one"
    );
}

#[test]
fn a_lease_with_much_left_gets_a_checkpoint() {
    let countdown = granted(&[lease(1, DAY_SECS), lease(2, 300)]);
    assert!(
        countdown
            .take_checkpoints(10, CHECKPOINT_EVERY_US - 1)
            .is_empty()
    );
    assert_eq!(
        countdown.take_checkpoints(10, CHECKPOINT_EVERY_US),
        [(1, DAY_SECS - 300)]
    );
    assert!(
        countdown
            .take_checkpoints(10, 10 * CHECKPOINT_EVERY_US)
            .is_empty(),
        "it is under way"
    );
    countdown.checkpointed(
        &with_checkpoint(1, DAY_SECS, DAY_SECS - 300),
        CHECKPOINT_EVERY_US,
    );
    countdown.checkpoint_ended(1, DAY_SECS - 300, CHECKPOINT_EVERY_US);
    assert_eq!(
        countdown.take_checkpoints(10, 2 * CHECKPOINT_EVERY_US),
        [(1, DAY_SECS - 600)]
    );
}

#[test]
fn no_renewal_is_answered_while_a_checkpoint_counts() {
    let countdown = granted(&[lease(1, DAY_SECS)]);
    let at = CHECKPOINT_EVERY_US;
    assert_eq!(countdown.take_checkpoints(10, at).len(), 1);
    assert_eq!(countdown.renew(1, at + 1), Renewal::Checkpointing);
    countdown.checkpoint_ended(1, DAY_SECS - 300, at + 2);
    assert_eq!(
        countdown.renew(1, at + 3),
        Renewal::Checkpointed,
        "also when its outcome is not known"
    );
    countdown.checkpointed(&lease(1, DAY_SECS), at + 4);
    assert_eq!(countdown.renew(1, at + 5), Renewal::Renewed(DAY_SECS));
}

#[test]
fn a_freshly_renewed_lease_needs_no_checkpoint() {
    let countdown = granted(&[lease(1, DAY_SECS)]);
    assert_eq!(
        countdown.renew(1, CHECKPOINT_EVERY_US),
        Renewal::Renewed(DAY_SECS)
    );
    assert!(
        countdown
            .take_checkpoints(10, CHECKPOINT_EVERY_US)
            .is_empty()
    );
}

#[test]
fn checkpoints_can_be_off() {
    let countdown = Countdown::new(false);
    countdown.granted(&lease(1, DAY_SECS), 0);
    assert!(
        countdown
            .take_checkpoints(10, 10 * CHECKPOINT_EVERY_US)
            .is_empty()
    );
}

#[test]
fn wake_ups_of_gone_leases_do_not_pile_up() {
    let countdown = Countdown::new(true);
    for _ in 0..10_000 {
        countdown.granted(&lease(64, DAY_SECS), 0);
        countdown.revoked(64);
    }
    assert!(
        countdown.wakes() <= 2 * (STALE_MAX + 1),
        "{}",
        countdown.wakes()
    );
    countdown.granted(&lease(64, 5), 0);
    assert_eq!(countdown.take_expired(10, 5000 * MS), [64]);
}

#[test]
fn a_reused_id_does_not_end_with_its_predecessor() {
    let countdown = granted(&[lease(1, 5)]);
    countdown.revoked(1);
    countdown.granted(&lease(1, 50), 1000 * MS);
    assert!(countdown.take_expired(10, 5000 * MS).is_empty());
    assert_eq!(countdown.take_expired(10, 51_000 * MS), [1]);
}

#[test]
fn renewals_cost_no_wake_ups() {
    // Renewals never touch the heap: one wake-up per lease, however often.
    let countdown = granted(&[lease(1, 100)]);
    for now in 0..10_000 {
        assert_eq!(countdown.renew(1, now * MS), Renewal::Renewed(100));
    }
    assert_eq!(countdown.wakes(), 1);
    assert!(countdown.take_expired(10, 100_000 * MS).is_empty());
    assert_eq!(countdown.wakes(), 1);
    assert_eq!(countdown.take_expired(10, 109_999 * MS), [1]);
}
