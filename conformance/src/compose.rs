//! The members of `docker-compose.yml` as local processes: what `make cluster` starts.
//!
//! A service that runs `etcd` is a member. Its published port is its client port here,
//! the next one its peer port; names of services become a loopback address, and its
//! data goes below a directory of the caller's.

use serde_yaml_ng::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The port that members serve clients on inside their containers.
const CLIENT_PORT: u16 = 2379;
/// And each other.
const PEER_PORT: u16 = 2380;

/// A member as the file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The service's name.
    pub name: String,
    /// Flags, without the program.
    pub flags: Vec<String>,
    /// The port published for clients.
    pub port: u16,
}

/// The members of a compose file.
///
/// # Errors
/// With a sentence, when it is not one, or a member is not as it must be.
pub fn members(text: &str) -> Result<Vec<Service>, String> {
    let mut file: Value = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    file.apply_merge().map_err(|error| error.to_string())?;
    let services = file.get("services").and_then(Value::as_mapping);
    let services = services.ok_or("there are no services")?;
    let mut members = Vec::new();
    for (name, service) in services {
        let name = name.as_str().ok_or("a service's name is a text")?;
        let command = texts(service.get("command"));
        let Some((program, flags)) = command.split_first() else {
            continue;
        };
        if program != "etcd" {
            continue;
        }
        let ports = texts(service.get("ports"));
        let inside = format!(":{CLIENT_PORT}");
        let mut published = ports.iter().filter_map(|port| port.strip_suffix(&inside));
        let port = published.next().and_then(|port| port.parse().ok());
        members.push(Service {
            name: name.to_owned(),
            flags: flags.to_vec(),
            port: port.ok_or(format!("{name} publishes no client port"))?,
        });
    }
    if members.is_empty() {
        return Err("no service runs etcd".to_owned());
    }
    Ok(members)
}

/// The flags of a member on this address, with its data below `data`.
#[must_use]
pub fn local_flags(members: &[Service], nth: usize, address: &str, data: &Path) -> Vec<String> {
    let own = &members[nth];
    let mut places = BTreeMap::new();
    for member in members {
        for (inside, here) in [(CLIENT_PORT, member.port), (PEER_PORT, member.port + 1)] {
            let place = format!("{address}:{here}");
            places.insert(format!("//{}:{inside}", member.name), format!("//{place}"));
            if member == own {
                places.insert(format!("//0.0.0.0:{inside}"), format!("//{place}"));
            }
        }
    }
    let local = |flag: &String| {
        if flag.starts_with("--data-dir=") {
            return format!("--data-dir={}", data.join(&own.name).display());
        }
        let mut flag = flag.clone();
        for (inside, here) in &places {
            flag = flag.replace(inside, here);
        }
        flag
    };
    own.flags.iter().map(local).collect()
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_sequence);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
x-all: &all
  image: i
services:
  a:
    <<: *all
    command: [etcd, --name=a, --data-dir=/var/lib/etcd, '--listen-client-urls=http://0.0.0.0:2379', '--initial-cluster=a=http://a:2380,b=http://b:2380']
    ports: ['2379:2379']
  b:
    <<: *all
    command: [etcd, --name=b]
    ports: ['9090:9090', '22379:2379']
  other:
    image: o
";

    #[test]
    fn members_become_local_processes() {
        let members = members(FILE).expect("it describes a cluster");
        assert_eq!(members.len(), 2);
        assert_eq!((members[1].name.as_str(), members[1].port), ("b", 22379));
        assert_eq!(
            local_flags(&members, 0, "127.0.0.1", Path::new("d")),
            [
                "--name=a",
                "--data-dir=d/a",
                "--listen-client-urls=http://127.0.0.1:2379",
                "--initial-cluster=a=http://127.0.0.1:2380,b=http://127.0.0.1:22380"
            ]
        );
    }

    #[test]
    fn what_is_no_cluster_is_refused() {
        for text in ["", "services: {}", "services: {a: {command: [etcd]}}"] {
            assert!(members(text).is_err(), "{text}");
        }
    }
}
