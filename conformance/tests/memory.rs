//! What a server takes before it has anything to do.

use sternpost_conformance::measure::proc;
use sternpost_conformance::target::{Kind, Plan};

/// Twice what it is, and half of what one library's tables once took (docs/adr/0008).
const OWN_MAX_MIB: f64 = 12.0;

#[tokio::test]
async fn an_idle_server_is_small() {
    let target = Plan::new(Kind::Sternpost).without_fsync().start();
    let mut kv = target.client().await.kv;
    let request = sternpost_proto::etcdserverpb::PutRequest {
        key: "k".into(),
        value: "v".into(),
        ..Default::default()
    };
    kv.put(request).await.expect("a put is answered");
    let own = proc::rss_own_mib(target.pid());
    println!("{own:.1} MiB of its own");
    assert!(own < OWN_MAX_MIB, "{own:.1} MiB of its own");
}
