//! The official Go client, with its own recipes, against ours and the reference.

use std::process::Command;
use sternpost_conformance::binaries;
use sternpost_conformance::target::{Kind, Target};

#[test]
fn the_go_client_is_served() {
    let dir = binaries::conformance_dir().join("go");
    let built = Command::new("go")
        .args(["build", "-o", "bin/scenarios", "."])
        .current_dir(&dir)
        .status()
        .expect("Go is installed: see `make deps`");
    assert!(built.success(), "the scenarios do not build");
    for kind in [Kind::Sternpost, Kind::Etcd] {
        let target = Target::fresh(kind);
        let output = Command::new(dir.join("bin/scenarios"))
            .arg(target.endpoint())
            .output()
            .expect("the scenarios start");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}:\n{text}", target.name());
        println!("{}:\n{text}", target.name());
    }
}
