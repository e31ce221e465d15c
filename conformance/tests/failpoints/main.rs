//! A server that dies, hesitates or fails at each place that its build with failpoints names:
//! nothing that was acknowledged is lost, and service goes on.

mod alone;
mod build;
mod cluster;

/// The terms of a hesitation that no client and no election minds.
const HESITATE: &str = "3*sleep(\"150ms\")";

/// Asserts that a process has ended at `point`, and not otherwise.
fn assert_ended_at(point: &str, (status, line): (std::process::ExitStatus, String)) {
    println!("{point}: {status}: {line}");
    assert_eq!(status.code(), Some(1), "{point}: {line}");
    let says = line.contains("a failpoint ends this process") && line.contains(point);
    assert!(says, "{point}: ended otherwise: {line}");
}
