//! The one table from error to gRPC code and text. Clients match on both, so
//! they are etcd's byte for byte; nothing else in this crate writes the text
//! of a status.

use sternpost_raft::{ProposeError, ReadIndexError};
use sternpost_storage::{Fault, ReadError, Rejection};
use tonic::{Code, Status};

/// Defines the errors, their table, and the way from one to the other.
macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $code:ident, $text:literal;)+) => {
        /// What a request can be refused with; a variant per etcd error.
        // The table is whole from the start: some rows belong to services to come.
        #[allow(dead_code, missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ApiError { $($(#[$doc])* $name),+ }

        impl ApiError {
            /// Every error there is.
            const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The code on the wire.
            pub const fn code(self) -> Code {
                match self { $(Self::$name => Code::$code),+ }
            }

            /// The text, as clients match it.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

errors! {
    // etcd's own, in the order of its table.
    EmptyKey = InvalidArgument, "etcdserver: key is not provided";
    KeyNotFound = InvalidArgument, "etcdserver: key not found";
    ValueProvided = InvalidArgument, "etcdserver: value is provided";
    LeaseProvided = InvalidArgument, "etcdserver: lease is provided";
    TooManyOps = InvalidArgument, "etcdserver: too many operations in txn request";
    DuplicateKey = InvalidArgument, "etcdserver: duplicate key given in txn request";
    InvalidClientAPIVersion = InvalidArgument, "etcdserver: invalid client api version";
    InvalidSortOption = InvalidArgument, "etcdserver: invalid sort option";
    Compacted = OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    FutureRev = OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    NoSpace = ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    LeaseNotFound = NotFound, "etcdserver: requested lease not found";
    LeaseExist = FailedPrecondition, "etcdserver: lease already exists";
    LeaseTTLTooLarge = OutOfRange, "etcdserver: too large lease TTL";
    WatchCanceled = Cancelled, "etcdserver: watch canceled";
    MemberExist = FailedPrecondition, "etcdserver: member ID already exist";
    PeerURLExist = FailedPrecondition, "etcdserver: Peer URLs already exists";
    MemberNotEnoughStarted = Unknown, "etcdserver: re-configuration failed due to not enough started members";
    MemberBadURLs = InvalidArgument, "etcdserver: given member URLs are invalid";
    MemberNotFound = NotFound, "etcdserver: member not found";
    MemberNotLearner = FailedPrecondition, "etcdserver: can only promote a learner member";
    LearnerNotReady = FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader";
    TooManyLearners = FailedPrecondition, "etcdserver: too many learner members in cluster";
    ClusterIDMismatch = FailedPrecondition, "etcdserver: cluster ID mismatch";
    RequestTooLarge = InvalidArgument, "etcdserver: request is too large";
    RequestTooManyRequests = Unknown, "etcdserver: too many requests";
    RootUserNotExist = FailedPrecondition, "etcdserver: root user does not exist";
    RootRoleNotExist = FailedPrecondition, "etcdserver: root user does not have root role";
    UserAlreadyExist = FailedPrecondition, "etcdserver: user name already exists";
    UserEmpty = InvalidArgument, "etcdserver: user name is empty";
    UserNotFound = FailedPrecondition, "etcdserver: user name not found";
    RoleAlreadyExist = FailedPrecondition, "etcdserver: role name already exists";
    RoleNotFound = FailedPrecondition, "etcdserver: role name not found";
    RoleEmpty = InvalidArgument, "etcdserver: role name is empty";
    AuthFailed = InvalidArgument, "etcdserver: authentication failed, invalid user ID or password";
    PermissionNotGiven = InvalidArgument, "etcdserver: permission not given";
    PermissionDenied = PermissionDenied, "etcdserver: permission denied";
    RoleNotGranted = FailedPrecondition, "etcdserver: role is not granted to the user";
    PermissionNotGranted = FailedPrecondition, "etcdserver: permission is not granted to the role";
    AuthNotEnabled = FailedPrecondition, "etcdserver: authentication is not enabled";
    InvalidAuthToken = Unauthenticated, "etcdserver: invalid auth token";
    InvalidAuthMgmt = InvalidArgument, "etcdserver: invalid auth management";
    AuthOldRevision = InvalidArgument, "etcdserver: revision of auth store is old";
    NoLeader = Unavailable, "etcdserver: no leader";
    NotLeader = FailedPrecondition, "etcdserver: not leader";
    LeaderChanged = Unavailable, "etcdserver: leader changed";
    NotCapable = FailedPrecondition, "etcdserver: not capable";
    Stopped = Unavailable, "etcdserver: server stopped";
    Timeout = Unavailable, "etcdserver: request timed out";
    TimeoutDueToLeaderFail = Unavailable, "etcdserver: request timed out, possibly due to previous leader failure";
    TimeoutDueToConnectionLost = Unavailable, "etcdserver: request timed out, possibly due to connection lost";
    TimeoutWaitAppliedIndex = Unavailable, "etcdserver: request timed out, waiting for the applied index took too long";
    Unhealthy = Unavailable, "etcdserver: unhealthy cluster";
    Corrupt = DataLoss, "etcdserver: corrupt cluster";
    NotSupportedForLearner = FailedPrecondition, "etcdserver: rpc not supported for learner";
    BadLeaderTransferee = FailedPrecondition, "etcdserver: bad leader transferee";
    WrongDowngradeVersionFormat = InvalidArgument, "etcdserver: wrong downgrade target version format";
    InvalidDowngradeTargetVersion = InvalidArgument, "etcdserver: invalid downgrade target version";
    ClusterVersionUnavailable = FailedPrecondition, "etcdserver: cluster version not found during downgrade";
    DowngradeInProcess = FailedPrecondition, "etcdserver: cluster has a downgrade job in progress";
    NoInflightDowngrade = FailedPrecondition, "etcdserver: no inflight downgrade job";
    Canceled = Cancelled, "etcdserver: request canceled";
    DeadlineExceeded = DeadlineExceeded, "etcdserver: context deadline exceeded";
    NotPrimaryLessor = Unknown, "not a primary lessor";
    TimeoutLeaderTransfer = Unknown, "etcdserver: request timed out, leader transfer took too long";
    NoPasswordUser = Unknown, "auth: authentication failed, password was given for no password user";
    UnknownMethod = Unknown, "etcdserver: unknown method";
    ProposalDropped = Unknown, "raft proposal dropped";
    LeaderFieldMissing = Unknown, "\"leader\" field must be provided";
    ElectionNotLeader = Unknown, "election: not leader";
    ElectionNoLeader = Unknown, "election: no leader";
    StreamSortOrder = Unimplemented, "RangeStream does not support custom sort orders";
    StreamRevisionFilter = Unimplemented, "RangeStream does not support revision filters";
    ContextCanceled = Cancelled, "context canceled";
    ContextDeadlineExceeded = DeadlineExceeded, "context deadline exceeded";
    // Ours, where etcd crashes or has nothing to say (docs/compat.md).
    UnknownAlarmAction = InvalidArgument, "etcdserver: unknown alarm action";
    UnknownAlarmType = InvalidArgument, "etcdserver: unknown alarm type";
    StorageFault = Internal, "etcdserver: stored data can't be read, see this member's log";
    UnexpectedAnswer = Internal, "etcdserver: the answer does not belong to the request";
}

impl ApiError {
    /// The error that another member has answered with, if it is one of these.
    pub fn of(status: &Status) -> Option<Self> {
        let known = Self::ALL.iter().copied();
        known
            .into_iter()
            .find(|error| (error.code(), error.text()) == (status.code(), status.message()))
    }
}

/// Why a watch is refused: etcd says so in `cancel_reason`, not in a status.
pub mod cancel_reason {
    /// `range_end` is set and not above `key`.
    pub const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
    /// The client chose an ID that the stream already uses.
    pub const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
    /// `start_revision` is negative.
    pub const COMPACTED: &str = super::ApiError::Compacted.text();
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        Self::new(error.code(), error.text())
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::KeyNotFound => Self::KeyNotFound,
            Rejection::Compacted => Self::Compacted,
            Rejection::FutureRevision => Self::FutureRev,
            Rejection::LeaseNotFound => Self::LeaseNotFound,
            Rejection::LeaseExists => Self::LeaseExist,
            Rejection::NoSpace => Self::NoSpace,
            Rejection::Corrupt => Self::Corrupt,
            // Only the lease clock proposes expiries, and it looks at the
            // rejection itself.
            Rejection::StaleExpiry => Self::NotPrimaryLessor,
            // Looked at where commands are forwarded.
            Rejection::StaleProposal => Self::TimeoutDueToLeaderFail,
        }
    }
}

impl From<ProposeError> for ApiError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Rejected(rejection) => rejection.into(),
            // Whoever proposes has waited for a leader before, so this one
            // was lost just now: etcd lets such a call run into its timeout.
            ProposeError::NoLeader => Self::Timeout,
            ProposeError::Overloaded => Self::RequestTooManyRequests,
            ProposeError::Stopped => Self::Stopped,
            ProposeError::OutcomeUnknown => Self::Timeout,
            // The request check draws the line before that.
            ProposeError::TooDeep => Self::TooManyOps,
        }
    }
}

impl From<ReadIndexError> for ApiError {
    fn from(error: ReadIndexError) -> Self {
        match error {
            ReadIndexError::NoLeader | ReadIndexError::TimedOut => Self::Timeout,
            ReadIndexError::LeaderChanged => Self::LeaderChanged,
            ReadIndexError::Stopped => Self::Stopped,
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Rejected(rejection) => rejection.into(),
            ReadError::Fault(fault) => fault.into(),
        }
    }
}

impl From<Fault> for ApiError {
    /// The client learns that there is a fault, the log which one.
    fn from(fault: Fault) -> Self {
        tracing::error!(error = %fault, "stored data can't be read");
        Self::StorageFault
    }
}

/// A request of more than `max` bytes, as grpc-go says it.
pub fn message_too_large(bytes: usize, max: usize) -> Status {
    let text = format!("grpc: received message larger than max ({bytes} vs. {max})");
    Status::resource_exhausted(text)
}

/// A method of a service that is not built yet.
pub fn not_built(method: &'static str) -> Status {
    Status::unimplemented(format!("sternpost: {method} is not built yet"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const TABLE: &str = include_str!("../../testdata/errors.tsv");

    /// Rows of etcd's table: name, wire code, text.
    fn rows() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        TABLE.lines().skip(1).map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            (columns[0], columns[3], columns[4])
        })
    }

    fn by_text() -> BTreeMap<&'static str, ApiError> {
        ApiError::ALL
            .iter()
            .map(|&error| (error.text(), error))
            .collect()
    }

    #[test]
    fn every_row_of_the_table_is_an_error_of_ours() {
        let ours = by_text();
        for (name, code, text) in rows() {
            if code == "cancel_reason" || text.starts_with("grpc: received message larger") {
                continue;
            }
            let error = ours
                .get(text)
                .unwrap_or_else(|| panic!("{name}: no error says {text:?}"));
            // Go spells one of them with a single l.
            assert_eq!(
                format!("{:?}", error.code()).replace("Cancelled", "Canceled"),
                code,
                "{text}"
            );
            if let Some(short) = name.strip_prefix("ErrGRPC") {
                assert_eq!(format!("{error:?}"), short);
            }
        }
    }

    #[test]
    fn every_error_of_ours_is_in_the_table_or_marked_as_ours() {
        let table: Vec<&str> = rows().map(|row| row.2).collect();
        let own = [
            ApiError::UnknownAlarmAction,
            ApiError::UnknownAlarmType,
            ApiError::StorageFault,
            ApiError::UnexpectedAnswer,
        ];
        for error in ApiError::ALL {
            assert_ne!(
                table.contains(&error.text()),
                own.contains(error),
                "{error:?}"
            );
        }
        assert_eq!(
            by_text().len(),
            ApiError::ALL.len(),
            "two errors say the same"
        );
    }

    #[test]
    fn cancel_reasons_are_in_the_table() {
        let reasons = [
            cancel_reason::EMPTY_RANGE,
            cancel_reason::DUPLICATE_ID,
            cancel_reason::COMPACTED,
        ];
        let of_table: Vec<&str> = rows()
            .filter(|row| row.1 == "cancel_reason")
            .map(|row| row.2)
            .collect();
        for reason in reasons {
            assert!(of_table.contains(&reason), "{reason}");
        }
    }

    #[test]
    fn a_large_message_is_refused_in_the_words_of_grpc() {
        let status = message_too_large(2_097_153, 2_097_152);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.message(),
            "grpc: received message larger than max (2097153 vs. 2097152)"
        );
    }
}
