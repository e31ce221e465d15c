//! Text to steps: a tokenizer and a recursive descent.

use super::Step;
use crate::apply::EntryPayload;
use bytes::Bytes;
use prost::Message as _;
use std::{fmt, sync::Arc};
use sternpost_proto::{
    etcdserverpb::{self as pb, compare::TargetUnion, request_op::Request},
    internal::{self, Command, command::Verb},
};

/// What is wrong with a script, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    line: usize,
    detail: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.detail)
    }
}

impl std::error::Error for ParseError {}

/// Reads a whole script.
pub fn parse(script: &str) -> Result<Vec<Step>, ParseError> {
    let mut parser = Parser {
        tokens: tokenize(script)?,
        position: 0,
    };
    let mut steps = Vec::new();
    loop {
        while parser.take(&Token::End) {}
        if parser.peek().is_none() {
            return Ok(steps);
        }
        steps.push(parser.step()?);
        if parser.peek().is_some() {
            parser.expect(&Token::End)?;
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A bare word or a quoted string.
    Word(Vec<u8>),
    Symbol(&'static str),
    /// A line's end or a semicolon.
    End,
}

/// Longest first.
const SYMBOLS: [&str; 9] = ["..", "!=", "=", "<", ">", "?", "{", "}", ","];

pub(super) fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'/' | b'-' | b':')
}

fn tokenize(script: &str) -> Result<Vec<(usize, Token)>, ParseError> {
    let mut tokens = Vec::new();
    for (index, line) in script.lines().enumerate() {
        let number = index + 1;
        let mut rest = line;
        loop {
            rest = rest.trim_start();
            if rest.is_empty() || rest.starts_with('#') {
                break;
            }
            let (token, length) = token(rest).map_err(|detail| ParseError {
                line: number,
                detail,
            })?;
            tokens.push((number, token));
            rest = &rest[length..];
        }
        tokens.push((number, Token::End));
    }
    Ok(tokens)
}

/// The first token of a line's rest, and its length.
fn token(rest: &str) -> Result<(Token, usize), String> {
    if rest.starts_with(';') {
        return Ok((Token::End, 1));
    }
    if rest.starts_with('"') {
        return quoted(rest);
    }
    if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        return Ok((Token::Symbol(symbol), symbol.len()));
    }
    let length = rest.bytes().take_while(|byte| is_bare(*byte)).count();
    if length == 0 {
        return Err(format!("what is {rest:?}?"));
    }
    Ok((Token::Word(rest.as_bytes()[..length].to_vec()), length))
}

fn quoted(rest: &str) -> Result<(Token, usize), String> {
    let bytes = rest.as_bytes();
    let mut word = Vec::new();
    let mut at = 1;
    loop {
        match bytes.get(at) {
            None => return Err("a string without end".to_owned()),
            Some(b'"') => return Ok((Token::Word(word), at + 1)),
            Some(b'\\') => {
                let digits = rest
                    .get(at + 2..at + 4)
                    .filter(|_| bytes[at + 1..].starts_with(b"x"));
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                word.push(byte.ok_or_else(|| "escapes are \\x and two hex digits".to_owned())?);
                at += 4;
            }
            Some(byte) => {
                word.push(*byte);
                at += 1;
            }
        }
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    position: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.position).map(|(_, token)| token)
    }

    fn error<T>(&self, detail: impl Into<String>) -> Result<T, ParseError> {
        let at = self.position.min(self.tokens.len().saturating_sub(1));
        let line = self.tokens.get(at).map_or(0, |(line, _)| *line);
        Err(ParseError {
            line,
            detail: detail.into(),
        })
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.position += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.take(&Token::Word(word.as_bytes().to_vec()))
    }

    fn expect(&mut self, token: &Token) -> Result<(), ParseError> {
        if self.take(token) {
            Ok(())
        } else {
            self.error(format!("{token:?} expected, not {:?}", self.peek()))
        }
    }

    fn word(&mut self) -> Result<Bytes, ParseError> {
        let Some(Token::Word(word)) = self.peek() else {
            return self.error(format!("a word expected, not {:?}", self.peek()));
        };
        let word = Bytes::from(word.clone());
        self.position += 1;
        Ok(word)
    }

    fn text(&mut self) -> Result<String, ParseError> {
        let word = self.word()?;
        String::from_utf8(word.to_vec()).or_else(|_| self.error("text expected"))
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, ParseError> {
        let text = self.text()?;
        text.parse()
            .or_else(|_| self.error(format!("a number expected, not {text}")))
    }

    /// Whether a word is next on this line.
    fn has_word(&self) -> bool {
        matches!(self.peek(), Some(Token::Word(_)))
    }

    /// `name=N`, if it is next.
    fn option<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, ParseError> {
        if !self.take_word(name) {
            return Ok(None);
        }
        self.expect(&Token::Symbol("="))?;
        self.number().map(Some)
    }

    fn step(&mut self) -> Result<Step, ParseError> {
        let start = self.position;
        let verb = self.text()?;
        Ok(match verb.as_str() {
            "get" => Step::Range(self.range_request()?),
            "stream" => Step::Stream(self.number()?, self.range_request()?),
            "read" => Step::ReadTxn(self.txn()?),
            "count" => {
                let (key, range_end) = self.range()?;
                Step::Count(key, range_end)
            }
            "history" => Step::History(self.number()?, self.option("max")?.unwrap_or(usize::MAX)),
            "hash" => Step::Hash(self.number()?),
            "leases" => Step::Leases,
            "lease" => Step::Lease(self.number()?),
            "alarms" => Step::Alarms,
            "info" => Step::Info,
            "cluster" => Step::Cluster,
            "verify" => Step::Verify,
            "term" => Step::Term(self.number()?),
            "scrub" => Step::Scrub(if self.has_word() {
                Some(self.number()?)
            } else {
                None
            }),
            "flush" => Step::Flush,
            "reopen" => Step::Reopen,
            "replay" => Step::Replay,
            "chunk" => {
                let mut payloads = Vec::new();
                self.block(|parser| parser.payload().map(|payload| payloads.push(payload)))?;
                Step::Apply(payloads)
            }
            _ => {
                self.position = start;
                Step::Apply(vec![self.payload()?])
            }
        })
    }

    /// Statements in braces.
    fn block(
        &mut self,
        mut statement: impl FnMut(&mut Self) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        self.expect(&Token::Symbol("{"))?;
        loop {
            while self.take(&Token::End) {}
            if self.take(&Token::Symbol("}")) {
                return Ok(());
            }
            statement(self)?;
        }
    }

    fn payload(&mut self) -> Result<EntryPayload, ParseError> {
        let verb = match self.text()?.as_str() {
            "blank" => return Ok(EntryPayload::Blank),
            "members" => return self.members(),
            "put" => Verb::Put(self.put()?),
            "delete" => Verb::DeleteRange(self.delete()?),
            "txn" => Verb::Txn(self.txn()?),
            "compact" => Verb::Compaction(pb::CompactionRequest {
                revision: self.number()?,
                physical: false,
            }),
            "grant" => Verb::LeaseGrant(internal::LeaseGrant {
                id: self.number()?,
                ttl_secs: self.number()?,
            }),
            "revoke" => {
                let id = self.number()?;
                let expired_in_term = self.option("expired_in")?.unwrap_or(0);
                Verb::LeaseRevoke(internal::LeaseRevoke {
                    id,
                    expired_in_term,
                })
            }
            "checkpoint" => Verb::LeaseCheckpoints(self.checkpoints()?),
            "alarm" => Verb::Alarm(self.alarm()?),
            "attributes" => {
                let (member_id, name) = (self.number()?, self.text()?);
                let client_urls = self.texts()?;
                Verb::MemberAttributes(internal::MemberAttributes {
                    member_id,
                    name,
                    client_urls,
                })
            }
            "cluster_version" => Verb::ClusterVersion(internal::ClusterVersion {
                version: self.text()?,
            }),
            unknown => return self.error(format!("unknown statement {unknown}")),
        };
        Ok(EntryPayload::Command(Arc::new(Command {
            header: None,
            verb: Some(verb),
        })))
    }

    fn texts(&mut self) -> Result<Vec<String>, ParseError> {
        let mut texts = Vec::new();
        while self.has_word() {
            texts.push(self.text()?);
        }
        Ok(texts)
    }

    /// Voters, then learners; each member's only peer URL is made of its ID.
    fn members(&mut self) -> Result<EntryPayload, ParseError> {
        let mut ids: [Vec<u64>; 2] = Default::default();
        let mut kind = 0;
        while self.has_word() {
            if self.take_word("learners") {
                kind = 1;
            } else {
                ids[kind].push(self.number()?);
            }
        }
        let node = |id: &u64| internal::Node {
            id: *id,
            peer_urls: vec![format!("http://m{id}:2380")],
            ..Default::default()
        };
        let mut nodes: Vec<internal::Node> = ids.iter().flatten().map(node).collect();
        nodes.sort_by_key(|node| node.id);
        let [voters, _] = ids;
        let membership = internal::Membership {
            configs: vec![internal::VoterSet { ids: voters }],
            nodes,
        };
        let stored = internal::StoredMembership {
            log_id: None,
            membership: Some(membership),
        };
        Ok(EntryPayload::Membership(stored.encode_to_vec().into()))
    }

    fn checkpoints(&mut self) -> Result<internal::LeaseCheckpoints, ParseError> {
        let mut leases = Vec::new();
        while self.has_word() {
            let id = self.number()?;
            self.expect(&Token::Symbol("="))?;
            leases.push(internal::LeaseRemaining {
                id,
                remaining_secs: self.number()?,
            });
        }
        Ok(internal::LeaseCheckpoints { leases })
    }

    fn alarm(&mut self) -> Result<internal::AlarmChange, ParseError> {
        let clear = match self.text()?.as_str() {
            "raise" => false,
            "clear" => true,
            other => return self.error(format!("raise or clear expected, not {other}")),
        };
        let member_id = self.number()?;
        let kind = self.text()?;
        let Some(kind) = pb::AlarmType::from_str_name(&kind) else {
            return self.error(format!("no alarm {kind}"));
        };
        Ok(internal::AlarmChange {
            clear,
            member_id,
            alarm: kind as i32,
        })
    }

    /// A key and an end as in a request.
    fn range(&mut self) -> Result<(Bytes, Bytes), ParseError> {
        let key = self.word()?;
        if !self.take(&Token::Symbol("..")) {
            return Ok((key, Bytes::new()));
        }
        let from_key = Bytes::from_static(b"\0");
        Ok((
            key,
            if self.has_word() && !self.is_option() {
                self.word()?
            } else {
                from_key
            },
        ))
    }

    /// Whether the next word is an option of `get` or `delete` rather than an
    /// end of a range: `KEY..` is followed by nothing else.
    fn is_option(&self) -> bool {
        let Some(Token::Word(word)) = self.peek() else {
            return false;
        };
        let flags: [&[u8]; 3] = [b"keys_only", b"count_only", b"prev_kv"];
        let assigned = matches!(
            self.tokens.get(self.position + 1),
            Some((_, Token::Symbol("=")))
        );
        let names: [&[u8]; 8] = [
            b"rev",
            b"limit",
            b"order",
            b"sort",
            b"min_mod",
            b"max_mod",
            b"min_create",
            b"max_create",
        ];
        flags.contains(&&word[..]) || (assigned && names.contains(&&word[..]))
    }

    fn put(&mut self) -> Result<pb::PutRequest, ParseError> {
        let mut request = pb::PutRequest {
            key: self.word()?,
            value: self.word()?,
            ..Default::default()
        };
        while self.has_word() {
            if let Some(lease) = self.option("lease")? {
                request.lease = lease;
            } else if self.take_word("prev_kv") {
                request.prev_kv = true;
            } else if self.take_word("ignore_value") {
                request.ignore_value = true;
            } else if self.take_word("ignore_lease") {
                request.ignore_lease = true;
            } else {
                return self.error("no option of put");
            }
        }
        Ok(request)
    }

    fn delete(&mut self) -> Result<pb::DeleteRangeRequest, ParseError> {
        let (key, range_end) = self.range()?;
        Ok(pb::DeleteRangeRequest {
            key,
            range_end,
            prev_kv: self.take_word("prev_kv"),
        })
    }

    fn range_request(&mut self) -> Result<pb::RangeRequest, ParseError> {
        let (key, range_end) = self.range()?;
        let mut request = pb::RangeRequest {
            key,
            range_end,
            ..Default::default()
        };
        while self.has_word() {
            let name = self.text()?;
            match name.as_str() {
                "keys_only" => request.keys_only = true,
                "count_only" => request.count_only = true,
                _ => {
                    self.expect(&Token::Symbol("="))?;
                    self.range_option(&name, &mut request)?;
                }
            }
        }
        Ok(request)
    }

    fn range_option(
        &mut self,
        name: &str,
        request: &mut pb::RangeRequest,
    ) -> Result<(), ParseError> {
        use pb::range_request::{SortOrder, SortTarget};
        match name {
            "rev" => request.revision = self.number()?,
            "limit" => request.limit = self.number()?,
            "min_mod" => request.min_mod_revision = self.number()?,
            "max_mod" => request.max_mod_revision = self.number()?,
            "min_create" => request.min_create_revision = self.number()?,
            "max_create" => request.max_create_revision = self.number()?,
            "order" => {
                request.sort_order = match self.text()?.as_str() {
                    "asc" => SortOrder::Ascend as i32,
                    "desc" => SortOrder::Descend as i32,
                    other => return self.error(format!("no order {other}")),
                }
            }
            "sort" => {
                let target = self.text()?;
                let Some(target) = SortTarget::from_str_name(&target.to_ascii_uppercase()) else {
                    return self.error(format!("no sort target {target}"));
                };
                request.sort_target = target as i32;
            }
            _ => return self.error(format!("no option {name}")),
        }
        Ok(())
    }

    fn txn(&mut self) -> Result<pb::TxnRequest, ParseError> {
        let mut request = pb::TxnRequest::default();
        while self.has_word() {
            request.compare.push(self.compare()?);
            if !self.take(&Token::Symbol(",")) {
                break;
            }
        }
        self.block(|parser| {
            parser
                .operation()
                .map(|operation| request.success.push(operation))
        })?;
        if self.peek() == Some(&Token::Symbol("{")) {
            self.block(|parser| {
                parser
                    .operation()
                    .map(|operation| request.failure.push(operation))
            })?;
        }
        Ok(request)
    }

    fn operation(&mut self) -> Result<pb::RequestOp, ParseError> {
        let request = match self.text()?.as_str() {
            "put" => Request::RequestPut(self.put()?),
            "delete" => Request::RequestDeleteRange(self.delete()?),
            "get" => Request::RequestRange(self.range_request()?),
            "txn" => Request::RequestTxn(self.txn()?),
            other => return self.error(format!("no operation {other}")),
        };
        Ok(pb::RequestOp {
            request: Some(request),
        })
    }

    fn compare(&mut self) -> Result<pb::Compare, ParseError> {
        use pb::compare::CompareTarget;
        let target = self.text()?;
        let Some(target) = CompareTarget::from_str_name(&target.to_ascii_uppercase()) else {
            return self.error(format!("no compare target {target}"));
        };
        let (key, range_end) = self.range()?;
        let Some(result) = ["=", ">", "<", "!=", "?"]
            .iter()
            .position(|sign| self.take(&Token::Symbol(sign)))
        else {
            return self.error("a sign of comparison expected");
        };
        let unset = self.take_word("unset");
        let target_union = match target {
            _ if unset => None,
            CompareTarget::Version => Some(TargetUnion::Version(self.number()?)),
            CompareTarget::Create => Some(TargetUnion::CreateRevision(self.number()?)),
            CompareTarget::Mod => Some(TargetUnion::ModRevision(self.number()?)),
            CompareTarget::Lease => Some(TargetUnion::Lease(self.number()?)),
            CompareTarget::Value => Some(TargetUnion::Value(self.word()?)),
        };
        let result = i32::try_from(result).expect("five signs");
        Ok(pb::Compare {
            result,
            target: target as i32,
            key,
            range_end,
            target_union,
        })
    }
}
