//! Who calls whom: what each call on the peer port says of itself.

use std::fmt;
use tonic::{
    Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
};

/// The oldest version of the messages that is understood here.
pub const PROTOCOL_MIN: u32 = 1;
/// The newest version of the messages that is understood here.
pub const PROTOCOL_MAX: u32 = 1;
/// The newest rules that commands can be applied by here.
const FEATURE_LEVEL: u32 = 1;

const CLUSTER_ID: &str = "sternpost-cluster-id";
const FROM: &str = "sternpost-from";
const TO: &str = "sternpost-to";
const PROTOCOL: &str = "sternpost-protocol";
const LEVEL: &str = "sternpost-feature-level";

/// Who calls whom.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The caller's cluster; 0 if it does not know it yet.
    pub cluster_id: u64,
    /// The caller.
    pub from: u64,
    /// The member that is called; 0 for whoever answers.
    pub to: u64,
    /// The version of the messages.
    pub protocol: u32,
    /// The newest rules that the caller can apply commands by.
    pub feature_level: u32,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:x}: {:x} to {:x} (protocol {}, level {})",
            self.cluster_id, self.from, self.to, self.protocol, self.feature_level
        )
    }
}

impl Caller {
    /// A call of this version.
    pub fn new(cluster_id: u64, from: u64, to: u64) -> Self {
        Self {
            cluster_id,
            from,
            to,
            protocol: PROTOCOL_MAX,
            feature_level: FEATURE_LEVEL,
        }
    }

    /// As metadata.
    pub fn write(&self, metadata: &mut MetadataMap) {
        let text = |value: String| {
            MetadataValue::<Ascii>::try_from(value).expect("digits are valid metadata")
        };
        metadata.insert(CLUSTER_ID, text(format!("{:x}", self.cluster_id)));
        metadata.insert(FROM, text(format!("{:x}", self.from)));
        metadata.insert(TO, text(format!("{:x}", self.to)));
        metadata.insert(PROTOCOL, text(self.protocol.to_string()));
        metadata.insert(LEVEL, text(self.feature_level.to_string()));
    }

    /// From metadata.
    pub fn read(metadata: &MetadataMap) -> Result<Self, Status> {
        let field = |name: &'static str, radix| {
            let value = metadata.get(name).and_then(|value| value.to_str().ok());
            value
                .and_then(|value| u64::from_str_radix(value, radix).ok())
                .ok_or_else(|| Status::invalid_argument(format!("{name} is missing or no number")))
        };
        let small = |name| {
            u32::try_from(field(name, 10)?)
                .map_err(|_| Status::invalid_argument(format!("{name} is too large")))
        };
        Ok(Self {
            cluster_id: field(CLUSTER_ID, 16)?,
            from: field(FROM, 16)?,
            to: field(TO, 16)?,
            protocol: small(PROTOCOL)?,
            feature_level: small(LEVEL)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_comes_back() {
        let caller = Caller::new(u64::MAX, 0x8e9e_05c5, 7);
        let mut metadata = MetadataMap::new();
        caller.write(&mut metadata);
        assert_eq!(Caller::read(&metadata).unwrap(), caller);
    }

    #[test]
    fn what_is_missing_or_no_number_is_refused() {
        let mut metadata = MetadataMap::new();
        assert!(Caller::read(&metadata).is_err());
        Caller::new(1, 2, 3).write(&mut metadata);
        metadata.insert(PROTOCOL, "99999999999".parse().unwrap());
        assert!(Caller::read(&metadata).is_err());
        metadata.insert(PROTOCOL, "1".parse().unwrap());
        metadata.insert(FROM, "-1".parse().unwrap());
        assert!(Caller::read(&metadata).is_err());
    }
}
