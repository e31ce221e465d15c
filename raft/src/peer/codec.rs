//! openraft's requests and answers to the messages of the peer port and back.
//! Log entries travel as they are kept on disk.

use crate::{
    codec::{
        entry_from_message, entry_to_message, log_id_from_message, log_id_to_message,
        vote_from_message, vote_to_message,
    },
    types::{LogId, TypeConfig, Vote},
};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use std::io;
use sternpost_proto::internal::{self as pb, append_response, transfer_leader_response};

/// A type of openraft's, as a message. What comes from a peer may be anything.
pub(crate) trait Convert<M>: Sized {
    fn to_message(&self) -> M;
    fn from_message(message: M) -> io::Result<Self>;
}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is missing"))
}

fn position(id: Option<&LogId>) -> Option<pb::LogId> {
    id.map(log_id_to_message)
}

fn log_id(message: Option<&pb::LogId>) -> Option<LogId> {
    message.map(log_id_from_message)
}

fn vote(message: Option<&pb::Vote>) -> io::Result<Vote> {
    message
        .map(vote_from_message)
        .ok_or_else(|| missing("the vote"))
}

fn matched(id: Option<&LogId>) -> pb::Matched {
    pb::Matched {
        log_id: position(id),
    }
}

impl Convert<pb::AppendRequest> for AppendEntriesRequest<TypeConfig> {
    fn to_message(&self) -> pb::AppendRequest {
        pb::AppendRequest {
            vote: Some(vote_to_message(&self.vote)),
            previous: position(self.prev_log_id.as_ref()),
            committed: position(self.leader_commit.as_ref()),
            entries: self.entries.iter().map(entry_to_message).collect(),
            answer_may_wait: false,
        }
    }

    /// Positions must follow each other: openraft takes that for granted.
    fn from_message(message: pb::AppendRequest) -> io::Result<Self> {
        let prev_log_id = log_id(message.previous.as_ref());
        let entries = message
            .entries
            .into_iter()
            .map(entry_from_message)
            .collect::<io::Result<Vec<_>>>()?;
        let mut next = prev_log_id.map_or(Some(0), |previous| previous.index.checked_add(1));
        let mut term = prev_log_id.map_or(0, |previous| previous.leader_id.term);
        for entry in &entries {
            let id = entry.log_id;
            if Some(id.index) != next || id.leader_id.term < term {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("entry {id} does not follow"),
                ));
            }
            (next, term) = (id.index.checked_add(1), id.leader_id.term);
        }
        let vote = vote(message.vote.as_ref())?;
        if !vote.committed || term > vote.leader_id.term {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("vote {vote} is no leader's, or older than the entries"),
            ));
        }
        Ok(Self {
            vote,
            prev_log_id,
            entries,
            leader_commit: log_id(message.committed.as_ref()),
        })
    }
}

impl Convert<pb::AppendResponse> for StreamAppendResult<TypeConfig> {
    fn to_message(&self) -> pb::AppendResponse {
        use append_response::Outcome;
        pb::AppendResponse {
            outcome: Some(match self {
                Ok(id) => Outcome::Matched(matched(id.as_ref())),
                Err(StreamAppendError::Conflict(id)) => Outcome::Conflict(log_id_to_message(id)),
                Err(StreamAppendError::HigherVote(vote)) => {
                    Outcome::HigherVote(vote_to_message(vote))
                }
            }),
        }
    }

    fn from_message(message: pb::AppendResponse) -> io::Result<Self> {
        use append_response::Outcome;
        Ok(match message.outcome {
            Some(Outcome::Matched(matched)) => Ok(log_id(matched.log_id.as_ref())),
            Some(Outcome::Conflict(id)) => {
                Err(StreamAppendError::Conflict(log_id_from_message(&id)))
            }
            Some(Outcome::HigherVote(vote)) => {
                Err(StreamAppendError::HigherVote(vote_from_message(&vote)))
            }
            None => return Err(missing("the outcome")),
        })
    }
}

impl Convert<pb::VoteRequest> for VoteRequest<TypeConfig> {
    /// `pre_vote` is the caller's to set.
    fn to_message(&self) -> pb::VoteRequest {
        pb::VoteRequest {
            vote: Some(vote_to_message(&self.vote)),
            last: position(self.last_log_id.as_ref()),
            pre_vote: false,
            leadership_transfer: self.leadership_transfer,
        }
    }

    fn from_message(message: pb::VoteRequest) -> io::Result<Self> {
        let last = log_id(message.last.as_ref());
        let mut request = Self::new(vote(message.vote.as_ref())?, last);
        request.leadership_transfer = message.leadership_transfer;
        Ok(request)
    }
}

impl Convert<pb::VoteResponse> for VoteResponse<TypeConfig> {
    fn to_message(&self) -> pb::VoteResponse {
        pb::VoteResponse {
            vote: Some(vote_to_message(&self.vote)),
            granted: self.vote_granted,
            last: position(self.last_log_id.as_ref()),
        }
    }

    fn from_message(message: pb::VoteResponse) -> io::Result<Self> {
        let last = log_id(message.last.as_ref());
        let vote = vote(message.vote.as_ref())?;
        Ok(Self::new(vote, last, message.granted))
    }
}

impl Convert<pb::TransferLeaderRequest> for TransferLeaderRequest<TypeConfig> {
    fn to_message(&self) -> pb::TransferLeaderRequest {
        pb::TransferLeaderRequest {
            from: Some(vote_to_message(self.from_leader())),
            to: *self.to_node_id(),
            last: position(self.last_log_id()),
        }
    }

    fn from_message(message: pb::TransferLeaderRequest) -> io::Result<Self> {
        let from = vote(message.from.as_ref())?;
        Ok(Self::new(from, message.to, log_id(message.last.as_ref())))
    }
}

/// The answer to a transfer. What was expected is known to whoever asked.
pub(crate) fn transfer_to_message(
    response: &TransferLeaderResponse<TypeConfig>,
) -> pb::TransferLeaderResponse {
    use transfer_leader_response::Refusal;
    let refusal = response.as_ref().err().map(|error| match error {
        TransferLeaderError::VoteChanged { actual, .. } => {
            Refusal::VoteChanged(vote_to_message(actual))
        }
        TransferLeaderError::LogNotFlushed { actual, .. } => {
            Refusal::NotFlushed(matched(actual.as_ref()))
        }
    });
    pb::TransferLeaderResponse { refusal }
}

/// The answer to `request`.
pub(crate) fn transfer_from_message(
    request: &TransferLeaderRequest<TypeConfig>,
    message: pb::TransferLeaderResponse,
) -> TransferLeaderResponse<TypeConfig> {
    use transfer_leader_response::Refusal;
    match message.refusal {
        None => Ok(()),
        Some(Refusal::VoteChanged(actual)) => Err(TransferLeaderError::VoteChanged {
            expected: *request.from_leader(),
            actual: vote_from_message(&actual),
        }),
        Some(Refusal::NotFlushed(matched)) => Err(TransferLeaderError::LogNotFlushed {
            expected: request.last_log_id().copied(),
            actual: log_id(matched.log_id.as_ref()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Data, Entry, EntryPayload, log_id};

    fn append(previous: Option<(u64, u64)>, entries: &[(u64, u64)]) -> pb::AppendRequest {
        let entries = entries.iter().map(|(term, index)| Entry {
            log_id: log_id(*term, *index),
            payload: EntryPayload::Normal(Data::from_encoded(vec![7; 9].into())),
        });
        AppendEntriesRequest::<TypeConfig> {
            vote: Vote::new_committed(4, 9),
            prev_log_id: previous.map(|(term, index)| log_id(term, index)),
            entries: entries.collect(),
            leader_commit: Some(log_id(3, 2)),
        }
        .to_message()
    }

    fn is_taken(message: pb::AppendRequest) -> bool {
        AppendEntriesRequest::<TypeConfig>::from_message(message).is_ok()
    }

    #[test]
    fn appends_come_back() {
        for message in [
            append(None, &[]),
            append(None, &[(1, 0), (1, 1)]),
            append(Some((2, 7)), &[(2, 8), (4, 9)]),
        ] {
            let request = AppendEntriesRequest::<TypeConfig>::from_message(message.clone());
            assert_eq!(request.unwrap().to_message(), message);
        }
        let outcomes: [StreamAppendResult<TypeConfig>; 4] = [
            Ok(None),
            Ok(Some(log_id(1, 2))),
            Err(StreamAppendError::Conflict(log_id(3, 4))),
            Err(StreamAppendError::HigherVote(Vote::new(5, 6))),
        ];
        for outcome in outcomes {
            let message: pb::AppendResponse = outcome.to_message();
            assert_eq!(StreamAppendResult::from_message(message).unwrap(), outcome);
        }
    }

    #[test]
    fn appends_that_no_leader_sends_are_refused() {
        assert!(!is_taken(append(None, &[(1, 1)])));
        assert!(!is_taken(append(Some((2, 7)), &[(2, 9)])));
        assert!(!is_taken(append(Some((2, 7)), &[(1, 8)])));
        assert!(!is_taken(append(Some((2, 7)), &[(2, 8), (2, 8)])));
        assert!(!is_taken(append(Some((2, 7)), &[(5, 8)])));
        assert!(!is_taken(append(Some((2, u64::MAX)), &[(2, 0)])));
        let mut campaign = append(None, &[]);
        campaign.vote = Some(vote_to_message(&Vote::new(4, 9)));
        assert!(!is_taken(campaign));
        assert!(!is_taken(pb::AppendRequest::default()));
        assert!(VoteRequest::<TypeConfig>::from_message(pb::VoteRequest::default()).is_err());
        let empty = pb::AppendResponse::default();
        assert!(StreamAppendResult::<TypeConfig>::from_message(empty).is_err());
    }

    #[test]
    fn votes_and_transfers_come_back() {
        let mut request =
            VoteRequest::<TypeConfig>::new(Vote::new(7, 1), Some(log_id(6, u64::MAX)));
        request.leadership_transfer = true;
        assert_eq!(
            VoteRequest::from_message(request.to_message()).unwrap(),
            request
        );
        let answer = VoteResponse::<TypeConfig>::new(Vote::new(7, 1), None, true);
        assert_eq!(
            VoteResponse::from_message(answer.to_message()).unwrap(),
            answer
        );
        let (expected, actual) = (Vote::new_committed(7, 1), Vote::new(8, 2));
        let request = TransferLeaderRequest::<TypeConfig>::new(expected, 2, Some(log_id(7, 3)));
        let back = TransferLeaderRequest::from_message(request.to_message()).unwrap();
        assert_eq!(back, request);
        let answers = [
            Ok(()),
            Err(TransferLeaderError::VoteChanged { expected, actual }),
            Err(TransferLeaderError::LogNotFlushed {
                expected: Some(log_id(7, 3)),
                actual: None,
            }),
        ];
        for answer in answers {
            let message = transfer_to_message(&answer);
            assert_eq!(transfer_from_message(&request, message), answer);
        }
    }
}
