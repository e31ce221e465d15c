//! Failpoints of a server that was built with them, by the HTTP address that etcd's gofail
//! has, too.

use crate::cluster::Addresses;
use crate::http::{self, Answer};
use std::path::PathBuf;

/// What names the address.
pub const ADDRESS: &str = "GOFAIL_HTTP";
/// What names points that are armed from the start.
pub const ARMED: &str = "GOFAIL_FAILPOINTS";
/// Beside a member's other ports, on its own address.
const PORT: u16 = 12382;

/// The failpoints of one server.
#[derive(Clone, Debug)]
pub struct Failpoints {
    address: String,
}

impl Failpoints {
    /// At a loopback address that nobody else on this machine uses now.
    #[must_use]
    pub fn somewhere() -> Self {
        Self::beside(&Addresses::loopback().host(0))
    }

    /// On this host, or that of this client address.
    #[must_use]
    pub fn beside(endpoint: &str) -> Self {
        let host = endpoint.split(':').next().unwrap_or_default();
        Self {
            address: format!("{host}:{PORT}"),
        }
    }

    /// Where they are.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What a server needs to have them there.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, PathBuf)> {
        vec![(ADDRESS.to_owned(), PathBuf::from(&self.address))]
    }

    /// The same, with points armed from the start: `name=terms;name=terms`.
    #[must_use]
    pub fn environment_with(&self, armed: &str) -> Vec<(String, PathBuf)> {
        let mut variables = self.environment();
        variables.push((ARMED.to_owned(), PathBuf::from(armed)));
        variables
    }

    /// Any request.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let answer = http::request(&self.address, method, path, body);
        answer.unwrap_or_else(|error| panic!("{method} {path} at {}: {error}", self.address))
    }

    /// All points, with what they are armed with.
    ///
    /// # Panics
    /// When it is no list.
    #[must_use]
    pub fn list(&self) -> Vec<(String, String)> {
        let page = self.ask("GET", "/", "");
        let pair = |line: &str| {
            let (name, terms) = line.split_once('=').expect("a line is name=terms");
            (name.to_owned(), terms.to_owned())
        };
        page.body.lines().map(pair).collect()
    }

    /// Arms a point.
    ///
    /// # Panics
    /// When it is refused.
    pub fn arm(&self, name: &str, terms: &str) {
        let answer = self.ask("PUT", &format!("/{name}"), terms);
        assert_eq!(answer.status, 204, "{name}={terms}: {}", answer.body);
    }

    /// Arms a point so that it ends the process, which may be before it has answered.
    ///
    /// # Panics
    /// When it is refused.
    pub fn arm_with_panic(&self, name: &str) {
        if let Ok(answer) = http::request(&self.address, "PUT", &format!("/{name}"), "panic") {
            assert_eq!(answer.status, 204, "{name}: {}", answer.body);
        }
    }

    /// Disarms a point.
    ///
    /// # Panics
    /// When it is refused.
    pub fn disarm(&self, name: &str) {
        let answer = self.ask("DELETE", &format!("/{name}"), "");
        assert_eq!(answer.status, 204, "{name}: {}", answer.body);
    }

    /// How often the server was at a point since it was armed.
    ///
    /// # Panics
    /// When that is no number.
    #[must_use]
    pub fn passed(&self, name: &str) -> u64 {
        let answer = self.ask("GET", &format!("/{name}/count"), "");
        let number = answer.body.parse();
        number.unwrap_or_else(|_| panic!("{name}: {}", answer.body))
    }
}
