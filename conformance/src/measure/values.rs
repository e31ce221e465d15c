//! Keys and values to load: made from a seed, the same for both servers.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fmt::Write as _;

/// What values look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing that compresses.
    Random,
    /// Objects as a Kubernetes API server stores custom resources.
    Json,
}

/// A key space in order, and the values in it.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// What values look like.
    pub kind: Kind,
    /// Bytes of a value.
    pub bytes: usize,
    /// Makes other values for the same keys.
    pub seed: u64,
}

/// Objects of a namespace: keys sort as their numbers do.
const PER_NAMESPACE: u64 = 1000;
const WORDS: [&str; 16] = [
    "ready",
    "pending",
    "replica",
    "container",
    "volume",
    "schedule",
    "image",
    "probe",
    "restart",
    "node",
    "policy",
    "service",
    "default",
    "update",
    "observed",
    "condition",
];

impl Content {
    /// The key with that number; numbers and keys sort alike.
    #[must_use]
    pub fn key(&self, number: u64) -> Vec<u8> {
        let key = match self.kind {
            Kind::Random => format!("key-{number:010}"),
            Kind::Json => format!(
                "/registry/widgets/team-{:06}/app-{number:010}",
                number / PER_NAMESPACE
            ),
        };
        key.into_bytes()
    }

    /// The first key behind all of them.
    #[must_use]
    pub fn end(&self) -> Vec<u8> {
        match self.kind {
            Kind::Random => b"key.".to_vec(),
            Kind::Json => b"/registry/widgets0".to_vec(),
        }
    }

    /// The value for that number.
    #[must_use]
    pub fn value(&self, number: u64) -> Vec<u8> {
        let mut rng = StdRng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        match self.kind {
            Kind::Random => {
                let mut value = vec![0; self.bytes];
                rng.fill(&mut value[..]);
                value
            }
            Kind::Json => object(number, self.bytes, &mut rng).into_bytes(),
        }
    }
}

/// An object of exactly so many bytes, or of as few as one can have.
fn object(number: u64, bytes: usize, rng: &mut StdRng) -> String {
    let uid: u128 = rng.random();
    let mut text = format!(
        "{{\"apiVersion\":\"example.org/v1\",\"kind\":\"Widget\",\"metadata\":{{\"name\":\"app-{number:010}\",\
         \"namespace\":\"team-{:06}\",\"uid\":\"{uid:032x}\",\"generation\":{}}},\"status\":{{\"note\":\"",
        number / PER_NAMESPACE,
        rng.random_range(1..50)
    );
    let tail = "\"}}";
    let room = bytes.saturating_sub(tail.len());
    while text.len() < room {
        let word = WORDS[rng.random_range(0..WORDS.len())];
        let _ = write!(text, "{word}-{} ", rng.random_range(0..100));
    }
    let least = text.find("note").expect("it was written above") + "note\":\"".len();
    text.truncate(room.max(least));
    text + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_of_the_size_and_the_same_again() {
        for (kind, bytes) in [(Kind::Random, 256), (Kind::Json, 256), (Kind::Json, 2048)] {
            let content = Content {
                kind,
                bytes,
                seed: 7,
            };
            assert_eq!(content.value(123_456).len(), bytes);
            assert_eq!(content.value(5), content.value(5));
            assert_ne!(content.value(5), content.value(6));
            assert!(content.key(99) < content.key(1000) && content.key(1_999_999) < content.end());
        }
    }
}
