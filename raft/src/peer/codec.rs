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
