//! Transfers that are not what they should be: nothing of them is installed,
//! and the member goes on.

use crate::nodes::{self, leading, put, runtime};
use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use std::{fs, path::Path};
use sternpost_proto::internal::{
    self as pb, SnapshotChunk, SnapshotOffer, SnapshotUpload, snapshot_progress::Step,
    snapshot_upload::Part,
};
use sternpost_raft::{NodeOptions, RaftNode, peer::Caller};
use sternpost_storage::{StateMachine, StorageOptions};

const SENDER: u64 = 2;
const KEYS: i64 = 40;

/// A transfer, ready to be spoiled.
#[derive(Clone)]
struct Upload {
    offer: SnapshotOffer,
    chunks: Vec<SnapshotChunk>,
    ends: bool,
}

impl Upload {
    fn parts(&self) -> Vec<SnapshotUpload> {
        let offer = Part::Offer(self.offer.clone());
        let chunks = self.chunks.iter().cloned().map(Part::Chunk);
        let end = self.ends.then_some(Part::End(pb::SnapshotEnd {}));
        let parts = [offer].into_iter().chain(chunks).chain(end);
        parts
            .map(|part| SnapshotUpload { part: Some(part) })
            .collect()
    }

    fn spoiled(&self, spoil: impl FnOnce(&mut Self)) -> Self {
        let mut upload = self.clone();
        spoil(&mut upload);
        upload
    }
}

fn small(options: NodeOptions) -> NodeOptions {
    NodeOptions {
        storage: StorageOptions {
            block_cache_bytes: 8 << 20,
            ..options.storage
        },
        ..options
    }
}

/// A member that leads, and the transfer of a state that goes further.
async fn begin(dir: &Path) -> (RaftNode, Upload) {
    let other = small(nodes::options(&dir.join("other")));
    let node = leading(other.clone()).await;
    for number in 0..KEYS {
        node.propose(put(&format!("key-{number}"), "value"))
            .await
            .unwrap();
    }
    node.shutdown().await;
    drop(node);
    let machine = StateMachine::open(&other.storage).unwrap();
    let copy = dir.join("copy");
    let checkpoint = machine.flusher().checkpoint(&copy).unwrap();
    let state = checkpoint.state;
    let (mut files, mut chunks) = (Vec::new(), Vec::new());
    for (number, file) in checkpoint.files.iter().enumerate() {
        let data = fs::read(copy.join(&file.name)).unwrap();
        files.push(pb::SnapshotFile {
            name: file.name.clone(),
            bytes: file.bytes,
        });
        chunks.push(SnapshotChunk {
            file: number as u32,
            crc32c: crc32c::crc32c(&data),
            data: data.into(),
            last: true,
            ..SnapshotChunk::default()
        });
    }
    let node = leading(small(nodes::options(&dir.join("own")))).await;
    node.propose(put("own", "value")).await.unwrap();
    let offer = SnapshotOffer {
        vote: Some(pb::Vote {
            term: node.term() + 5,
            node_id: SENDER,
            committed: true,
        }),
        last: Some(pb::LogId {
            term: state.applied.term,
            index: state.applied.index,
        }),
        membership: state.membership.unwrap(),
        revision: state.revision,
        state_digest: state.digest,
        files,
    };
    let upload = Upload {
        offer,
        chunks,
        ends: true,
    };
    (node, upload)
}

fn caller() -> Caller {
    Caller::new(nodes::identity().cluster_id, SENDER, 1)
}

/// What the member says to a transfer at its end.
async fn outcome(node: &RaftNode, upload: &Upload) -> Result<pb::Vote, String> {
    let uploads = stream::iter(upload.parts().into_iter().map(Ok)).boxed();
    let mut steps = node.endpoint().snapshot(&caller(), uploads).unwrap();
    while let Some(step) = steps.next().await {
        match step {
            Ok(step) => {
                if let Some(Step::Done(done)) = step.step {
                    return Ok(done.vote.unwrap());
                }
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    panic!("it ended without a word")
}

type Spoil = fn(&mut Upload);

const SPOILS: [(&str, Spoil); 16] = [
    ("is no file of a store", |upload| {
        upload.offer.files[0].name = "../../x".into()
    }),
    ("is no file of a store", |upload| {
        upload.offer.files[0].name = "/tmp/x.sst".into()
    }),
    ("is no file of a store", |upload| {
        upload.offer.files[0].name = "LOCK".into()
    }),
    ("is named twice", |upload| {
        upload.offer.files.push(upload.offer.files[0].clone())
    }),
    ("do not make a store", |upload| upload.offer.files.clear()),
    ("not come from a leader", |upload| {
        upload.offer.vote.as_mut().unwrap().committed = false;
    }),
    ("not come from a leader", |upload| {
        upload.offer.vote.as_mut().unwrap().node_id = 3
    }),
    ("further than its leader", |upload| {
        upload.offer.last.as_mut().unwrap().term = 1000
    }),
    ("further than its leader", |upload| {
        upload.offer.membership.clear()
    }),
    ("not announced", |upload| upload.chunks[0].file = 1 << 30),
    ("does not follow", |upload| upload.chunks[0].offset = 1),
    ("does not follow", |upload| {
        upload.chunks[1].data = vec![0; 1 << 19].into()
    }),
    ("too large", |upload| {
        upload.chunks[1].data = vec![0; 2 << 20].into()
    }),
    ("checksum or length", |upload| upload.chunks[1].crc32c ^= 1),
    ("before all files", |upload| {
        upload.chunks.pop();
    }),
    ("announced was", |upload| upload.offer.state_digest ^= 1),
];

#[test]
fn nothing_that_is_wrong_is_installed_and_the_member_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (node, upload) = begin(dir.path()).await;
        for (expected, spoil) in SPOILS {
            let error = outcome(&node, &upload.spoiled(spoil)).await.unwrap_err();
            assert!(error.contains(expected), "{error}, expected was {expected}");
        }
        let cut = upload.spoiled(|upload| upload.ends = false);
        let error = outcome(&node, &cut).await.unwrap_err();
        assert!(error.contains("has ended the transfer"), "{error}");
        assert!(!dir.path().join("x").exists());
        node.propose(put("own", "again")).await.unwrap();
        assert_eq!(node.reads().view().keys_total(), 1);
        assert!(node.leadership().borrow().leads);
        node.shutdown().await;
    });
}

#[test]
fn what_is_not_wanted_is_answered_with_the_vote() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (node, upload) = begin(dir.path()).await;
        let term = node.term();
        let stale = upload.spoiled(|upload| {
            upload.offer.vote.as_mut().unwrap().term = 1;
            upload.offer.last.as_mut().unwrap().term = 1;
        });
        // A leader of an earlier term than a restarted member's.
        node.shutdown().await;
        drop(node);
        let node = leading(small(nodes::options(&dir.path().join("own")))).await;
        assert!(node.term() > term);
        assert_eq!(outcome(&node, &stale).await.unwrap().term, node.term());
        let known = upload.spoiled(|upload| {
            let stored = pb::StoredMembership {
                log_id: Some(pb::LogId::default()),
                ..pb::StoredMembership::decode(upload.offer.membership.clone()).unwrap()
            };
            upload.offer.membership = stored.encode_to_vec().into();
            upload.offer.last = Some(pb::LogId { term: 0, index: 1 });
        });
        assert_eq!(outcome(&node, &known).await.unwrap().term, node.term());
        let contradiction = known.spoiled(|upload| {
            upload.offer.last = Some(pb::LogId {
                term: upload.offer.vote.as_ref().unwrap().term,
                index: 1,
            });
        });
        let error = outcome(&node, &contradiction).await.unwrap_err();
        assert!(error.contains("contradicts"), "{error}");
        node.shutdown().await;
    });
}

#[test]
fn the_newest_transfer_counts_and_what_arrived_before_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (node, upload) = begin(dir.path()).await;
        // One that stops after its first file, and never ends.
        let first = stream::iter(upload.parts().into_iter().take(2).map(Ok));
        let hanging = first.chain(stream::pending()).boxed();
        let mut steps = node.endpoint().snapshot(&caller(), hanging).unwrap();
        let have = steps.next().await.unwrap().unwrap();
        assert_eq!(have.step, Some(Step::Have(pb::SnapshotHave::default())));
        let whole = outcome(&node, &upload);
        let replaced = async {
            while let Some(step) = steps.next().await {
                if let Err(error) = step {
                    return error.to_string();
                }
            }
            panic!("it ended without a word")
        };
        let (whole, replaced) = tokio::join!(whole, replaced);
        assert!(replaced.contains("a newer transfer"), "{replaced}");
        assert_eq!(whole.unwrap().node_id, SENDER);
        assert_eq!(node.reads().view().keys_total(), KEYS);
        // The sender never comes again: this member is a voter by itself.
        node.leadership()
            .wait_for(|leadership| leadership.leads)
            .await
            .unwrap();
        node.propose(put("after", "value")).await.unwrap();
        assert_eq!(node.reads().view().keys_total(), KEYS + 1);
        node.shutdown().await;
    });
}
