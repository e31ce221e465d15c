//! A node leaves no thread behind. Alone in its binary: other tests' nodes
//! have threads of the same names.
#![allow(clippy::unwrap_used)]

mod nodes;

use nodes::{leading, options, put};

/// The names of this process's threads that a node starts.
fn node_threads() -> Vec<String> {
    const NAMES: [&str; 6] = [
        "raft",
        "raft-log",
        "apply",
        "housekeeper",
        "defragment",
        "stop",
    ];
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    let mut found: Vec<String> = names
        .map(|name| name.trim().to_owned())
        .filter(|name| NAMES.contains(&name.as_str()))
        .collect();
    found.sort();
    found
}

// One test after the other: the threads of both would look the same.
#[tokio::test]
async fn nodes_leave_no_thread() {
    of_a_node_that_was_shut_down_or_dropped().await;
    of_a_node_that_could_not_start().await;
}

async fn of_a_node_that_was_shut_down_or_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let node = leading(options(dir.path())).await;
    assert_eq!(node_threads(), ["apply", "housekeeper", "raft", "raft-log"]);
    node.propose(put("key", "value")).await.unwrap();
    node.defragment().await.unwrap();
    node.shutdown().await;
    // The thread that ended the others says so as its last act.
    nodes::until(|| node_threads().is_empty()).await;
    drop(node);

    let node = leading(options(dir.path())).await;
    node.propose(put("key", "value")).await.unwrap();
    drop(node);
    nodes::until(|| node_threads().is_empty()).await;
}

async fn of_a_node_that_could_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.bootstrap = sternpost_raft::Bootstrap::New {
        identity: nodes::identity(),
        members: vec![nodes::member(2)],
    };
    assert!(
        sternpost_raft::RaftNode::open(options).is_err(),
        "this member is not among the founders"
    );
    nodes::until(|| node_threads().is_empty()).await;
}
