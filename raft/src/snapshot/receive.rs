//! The receiver: takes another member's state, one at a time, and hands it to
//! openraft once it is whole.

use super::{
    Arrival, SnapshotData, Snapshots,
    incoming::{Incoming, Working},
    stores::{self, Stores},
};
use crate::{
    codec,
    observer::Way,
    state_machine::Raft,
    types::{LogId, StoredMembership, TypeConfig, Vote},
};
use bytes::Bytes;
use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf};
use prost::Message as _;
use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};
use sternpost_proto::internal::{
    self as pb, SnapshotProgress, SnapshotUpload, snapshot_progress::Step, snapshot_upload::Part,
};
use sternpost_storage::{LogMark, SnapshotFile, SnapshotState, snapshot};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, watch};

/// Pieces between the wire and the thread that writes them.
const PIECES_MAX: usize = 4;

/// Words to the sender that may wait.
const STEPS_MAX: usize = 16;

/// How long the sender may be silent: it may have to read all that is here
/// already of a large file.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// How long what a cut transfer left is kept for the next one.
const LEFT_KEPT: Duration = Duration::from_secs(600);

/// Words to the sender; the text is why the transfer has failed.
pub(crate) type Steps = BoxStream<'static, Result<SnapshotProgress, String>>;

/// The right to use the directory.
pub(super) type Slot = OwnedMutexGuard<Left>;

/// Since when something lies in the directory that nobody works at.
#[derive(Debug, Default)]
pub(super) struct Left(Option<Instant>);

impl Left {
    /// Somebody will remove the directory, or use it up.
    pub(super) fn nothing_left(&mut self) {
        self.0 = None;
    }
}

/// One transfer at a time, and the newest one counts: an older one is a
/// connection whose end nobody has heard of.
#[derive(Default)]
pub(super) struct Sessions {
    newest: watch::Sender<u64>,
    directory: Arc<Mutex<Left>>,
}

impl Sessions {
    /// Begins a session, once the one before has ended. The receiver tells
    /// when there is a newer one.
    async fn begin(&self) -> (Slot, watch::Receiver<u64>) {
        self.newest.send_modify(|number| *number += 1);
        let newer = self.newest.subscribe();
        (self.directory.clone().lock_owned().await, newer)
    }

    /// Removes what a cut transfer has left long ago.
    pub(super) fn tidy(&self, stores: &Stores) {
        let Ok(mut left) = self.directory.try_lock() else {
            return;
        };
        if left.0.is_some_and(|since| since.elapsed() > LEFT_KEPT) {
            left.0 = None;
            if let Err(error) = stores::remove(&stores.incoming()) {
                tracing::warn!(%error, "a copy received in part can't be removed");
            }
        }
    }
}

/// What a transfer will bring.
#[derive(Clone, Debug)]
struct Announced {
    vote: Vote,
    last: LogId,
    membership: StoredMembership,
    state: SnapshotState,
    files: Vec<SnapshotFile>,
}

impl Announced {
    /// Takes an offer apart. What comes from a peer may be anything: openraft
    /// gets nothing that it takes for impossible.
    fn read(offer: pb::SnapshotOffer, from: u64) -> Result<Self, String> {
        let vote = offer.vote.as_ref().map(codec::vote_from_message);
        let vote = vote
            .filter(|vote| vote.committed && vote.leader_id.voted_for == from)
            .ok_or("it does not come from a leader")?;
        let last = offer.last.ok_or("it says not how far it goes")?;
        let membership = pb::StoredMembership::decode(offer.membership.clone())
            .map_err(io::Error::from)
            .and_then(codec::stored_membership_from_message)
            .map_err(|error| error.to_string())?;
        let last_id = codec::log_id_from_message(&last);
        if last.term > vote.leader_id.term || membership.log_id().is_none_or(|id| id > last_id) {
            return Err("it goes further than its leader can know".into());
        }
        let files: Vec<_> = offer.files.into_iter().map(file).collect();
        snapshot::check_files(&files)?;
        let state = SnapshotState {
            applied: LogMark {
                term: last.term,
                index: last.index,
            },
            // What is kept must not keep the whole message alive.
            membership: Some(Bytes::copy_from_slice(&offer.membership)),
            revision: offer.revision,
            digest: offer.state_digest,
        };
        Ok(Self {
            vote,
            last: last_id,
            membership,
            state,
            files,
        })
    }

    fn meta(&self) -> SnapshotMetaOf<TypeConfig> {
        SnapshotMetaOf::<TypeConfig> {
            last_log_id: Some(self.last),
            last_membership: self.membership.clone(),
        }
    }
}

fn file(message: pb::SnapshotFile) -> SnapshotFile {
    SnapshotFile {
        name: message.name,
        bytes: message.bytes,
    }
}

/// Receives on behalf of one call.
pub(crate) struct Receiver {
    pub(crate) raft: Raft,
    pub(crate) snapshots: Arc<Snapshots>,
    /// Who calls.
    pub(crate) from: u64,
}

impl Receiver {
    /// Takes what `uploads` brings, and installs it. All work ends when the
    /// stream is dropped, but for an installation that has begun.
    pub(crate) fn receive<S, E>(self, uploads: S) -> Steps
    where
        S: Stream<Item = Result<SnapshotUpload, E>> + Send + Unpin + 'static,
        E: fmt::Display + Send + 'static,
    {
        let (progress, mut steps) = mpsc::channel(STEPS_MAX);
        let steps = stream::poll_fn(move |context| steps.poll_recv(context)).map(Ok);
        let from = self.from;
        let work = async move {
            let vote = self.run(uploads, progress).await.inspect_err(|error| {
                tracing::warn!(from = format!("{from:x}"), error, "a state is not received")
            })?;
            let done = pb::SnapshotDone { vote: Some(vote) };
            Ok(SnapshotProgress {
                step: Some(Step::Done(done)),
            })
        };
        stream::select(steps, work.into_stream()).boxed()
    }

    async fn run<S, E>(
        self,
        mut uploads: S,
        progress: mpsc::Sender<SnapshotProgress>,
    ) -> Result<pb::Vote, String>
    where
        S: Stream<Item = Result<SnapshotUpload, E>> + Send + Unpin,
        E: fmt::Display,
    {
        let Some(Part::Offer(offer)) = next(&mut uploads).await? else {
            return Err("it does not begin with an offer".into());
        };
        let announced = Announced::read(offer, self.from)?;
        let (slot, mut newer) = self.snapshots.sessions.begin().await;
        if let Some(vote) = self.refusal(&announced).await? {
            return Ok(vote);
        }
        let transit = self.snapshots.transit(Way::From(self.from));
        let writing = Writing {
            snapshots: self.snapshots.clone(),
            announced: announced.clone(),
            slot,
            working: Working { progress, bytes: 0 },
        };
        let arrival = tokio::select! {
            biased;
            _ = newer.changed() => return Err("a newer transfer has begun".into()),
            arrival = writing.take(&mut uploads) => arrival?,
        };
        // Much may have happened meanwhile.
        if let Some(vote) = self.refusal(&announced).await? {
            return Ok(vote);
        }
        let snapshot = SnapshotOf::<TypeConfig, SnapshotData> {
            meta: announced.meta(),
            snapshot: SnapshotData::Arrived(arrival),
        };
        let installed = self.raft.install_full_snapshot(announced.vote, snapshot);
        let response = installed.await.map_err(|error| error.to_string())?;
        transit.arrived();
        Ok(codec::vote_to_message(&response.vote))
    }

    /// Our vote, if the state is not wanted: its leader is none any more, or
    /// all of it is here.
    async fn refusal(&self, announced: &Announced) -> Result<Option<pb::Vote>, String> {
        let own = self
            .raft
            .with_raft_state(|state| (*state.vote_ref(), state.local_committed().copied()));
        let (vote, committed) = own.await.map_err(|error| error.to_string())?;
        let answer = Some(codec::vote_to_message(&vote));
        if vote.leader_id.term > announced.vote.leader_id.term {
            return Ok(answer);
        }
        match committed {
            Some(committed) if announced.last <= committed => Ok(answer),
            Some(committed) if announced.last.index <= committed.index => Err(format!(
                "entry {} contradicts entry {committed}, which is committed here",
                announced.last
            )),
            _ => Ok(None),
        }
    }
}

async fn next<S, E>(uploads: &mut S) -> Result<Option<Part>, String>
where
    S: Stream<Item = Result<SnapshotUpload, E>> + Unpin,
    E: fmt::Display,
{
    match tokio::time::timeout(SILENCE_MAX, uploads.next()).await {
        Ok(Some(Ok(upload))) => Ok(upload.part),
        Ok(Some(Err(error))) => Err(error.to_string()),
        Ok(None) => Err("the sender has ended the transfer".into()),
        Err(_) => Err("the sender has fallen silent".into()),
    }
}

/// The thread that writes, and what it needs.
struct Writing {
    snapshots: Arc<Snapshots>,
    announced: Announced,
    slot: Slot,
    working: Working,
}

impl Writing {
    async fn take<S, E>(self, uploads: &mut S) -> Result<Arrival, String>
    where
        S: Stream<Item = Result<SnapshotUpload, E>> + Unpin,
        E: fmt::Display,
    {
        let (pieces, taken) = mpsc::channel(PIECES_MAX);
        // It ends by itself once no piece can come any more.
        let written = tokio::task::spawn_blocking(move || self.write(taken));
        let feed = async {
            loop {
                let part = tokio::select! {
                    biased;
                    // The thread has ended, and says why.
                    () = pieces.closed() => return Ok(()),
                    part = next(uploads) => part?,
                };
                let Some(part) = part else { continue };
                let is_end = matches!(part, Part::End(_));
                if pieces.send(part).await.is_err() || is_end {
                    return Ok(());
                }
            }
        };
        let fed = feed.await;
        drop(pieces);
        let written = written.await.map_err(|error| error.to_string())?;
        fed.and(written.map_err(|error| error.to_string()))
    }

    fn write(mut self, pieces: mpsc::Receiver<Part>) -> io::Result<Arrival> {
        self.slot.0 = Some(Instant::now());
        let Announced { state, files, .. } = self.announced;
        let dir = self.snapshots.stores.incoming();
        let progress = self.working.progress.clone();
        let incoming = Incoming::open(dir, self.slot, files, self.working)?;
        let have = pb::SnapshotHave {
            parts: incoming.parts(),
        };
        let have = SnapshotProgress {
            step: Some(Step::Have(have)),
        };
        let gone = |_| io::ErrorKind::BrokenPipe;
        progress.blocking_send(have).map_err(gone)?;
        fill(incoming, pieces, state)
    }
}

fn fill(
    mut incoming: Incoming,
    mut pieces: mpsc::Receiver<Part>,
    state: SnapshotState,
) -> io::Result<Arrival> {
    loop {
        match pieces.blocking_recv() {
            Some(Part::Chunk(chunk)) => incoming.write(&chunk)?,
            Some(Part::End(_)) => return incoming.finish(state),
            Some(Part::Offer(_)) => return Err(io::Error::other("a second offer")),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
