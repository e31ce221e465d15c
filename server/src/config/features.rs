//! `--feature-gates`: etcd's switches, and which of them do something here.

use super::values::Format;

/// How settled a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Off unless asked for.
    Alpha,
    /// On unless asked not to.
    Beta,
}

impl Stage {
    /// As the metric's label has it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Alpha => "ALPHA",
            Self::Beta => "BETA",
        }
    }
}

/// One of etcd's gates.
pub struct Gate {
    /// Its name.
    pub name: &'static str,
    /// Its stage.
    pub stage: Stage,
    /// Whether it is on unless said otherwise.
    pub default: bool,
}

const fn gate(name: &'static str, stage: Stage, default: bool) -> Gate {
    Gate {
        name,
        stage,
        default,
    }
}

/// How many there are. A number, because a type that asks the table for its
/// length is a cycle to the compiler when it builds from nothing.
const GATES_COUNT: usize = 9;

/// All gates. LeaseCheckpoint is on by default, unlike etcd's (docs/compat.md).
pub const GATES: [Gate; GATES_COUNT] = [
    gate("CompactHashCheck", Stage::Alpha, false),
    gate("FastLeaseKeepAlive", Stage::Beta, true),
    gate("InitialCorruptCheck", Stage::Alpha, false),
    gate("LeaseCheckpoint", Stage::Alpha, true),
    gate("LeaseCheckpointPersist", Stage::Alpha, true),
    gate("PriorityRequest", Stage::Alpha, false),
    gate("SetMemberLocalAddr", Stage::Alpha, false),
    gate("StopGRPCServiceOnDefrag", Stage::Alpha, false),
    gate("TxnModeWriteWithSharedBuffer", Stage::Beta, true),
];

/// Which gates are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features([bool; GATES_COUNT]);

impl Features {
    /// Whether the gate of this name is on.
    pub fn enabled(&self, name: &str) -> bool {
        GATES
            .iter()
            .zip(self.0)
            .any(|(gate, on)| gate.name == name && on)
    }

    /// Every gate with its state.
    pub fn all(&self) -> impl Iterator<Item = (&'static Gate, bool)> {
        GATES.iter().zip(self.0)
    }
}

impl Format for Features {
    type Value = Self;
    const PLACEHOLDER: &'static str = "Name=true|false,…";

    fn parse(text: &str) -> Result<Self, String> {
        Self(GATES.map(|gate| gate.default)).with(text)
    }
}

impl Features {
    /// The same with the gates of `text` switched.
    pub fn with(self, text: &str) -> Result<Self, String> {
        let mut on = self.0;
        let mut given = [false; GATES_COUNT];
        let mut stages = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (name, value) = part
                .split_once('=')
                .map(|(name, value)| (name.trim(), value.trim()))
                .unwrap_or((part, ""));
            if value.is_empty() {
                return Err(format!("missing bool value for {name}"));
            }
            let value = super::values::Bool::parse(value)
                .map_err(|_| format!("invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax"))?;
            match name {
                "AllAlpha" => stages.push((Stage::Alpha, value)),
                "AllBeta" => stages.push((Stage::Beta, value)),
                _ => {
                    let at = GATES
                        .iter()
                        .position(|gate| gate.name == name)
                        .ok_or_else(|| format!("unrecognized feature gate: {name}"))?;
                    (on[at], given[at]) = (value, true);
                }
            }
        }
        for (stage, value) in stages {
            for (at, gate) in GATES.iter().enumerate() {
                if gate.stage == stage && !given[at] {
                    on[at] = value;
                }
            }
        }
        Ok(Self(on))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_gate_wins_over_its_stage() {
        let features = Features::parse("AllBeta=false,FastLeaseKeepAlive=true").unwrap();
        assert!(
            features.enabled("FastLeaseKeepAlive")
                && !features.enabled("TxnModeWriteWithSharedBuffer")
        );
        assert!(
            !Features::parse("LeaseCheckpoint=false")
                .unwrap()
                .enabled("LeaseCheckpoint")
        );
    }

    #[test]
    fn unknown_gates_stop_the_start() {
        assert_eq!(
            Features::parse("Nope=true"),
            Err("unrecognized feature gate: Nope".to_owned())
        );
        assert!(Features::parse("LeaseCheckpoint").is_err());
        assert!(Features::parse("LeaseCheckpoint=maybe").is_err());
    }
}
