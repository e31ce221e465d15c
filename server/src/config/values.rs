//! How the value of a flag is written, and what it is parsed into.

use super::urls::Url;
use std::{path::PathBuf, time::Duration};

/// The spelling of a value. One per kind of flag.
pub trait Format {
    /// What it is parsed into.
    type Value;
    /// What `--help` shows behind the flag.
    const PLACEHOLDER: &'static str;
    /// How a config file writes it.
    const IN_FILE: InFile = InFile::Plain;
    /// Whether a bad value is a mistake of spelling (usage, exit code 2) or
    /// found by etcd's later checks (one line in the log, exit code 1).
    const CHECKED_LATE: bool = false;
    /// The value, or why the text can't be one.
    fn parse(text: &str) -> Result<Self::Value, String>;
}

/// How a config file writes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFile {
    /// As the command line does.
    Plain,
    /// A whole number of nanoseconds.
    Nanoseconds,
}

/// What Go says about any number, boolean or duration it can not read.
fn parse_error() -> String {
    "parse error".to_owned()
}

/// Any text.
pub struct Text;
impl Format for Text {
    type Value = String;
    const PLACEHOLDER: &'static str = "text";
    fn parse(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
}

/// A file or directory; empty for none.
pub struct Path;
impl Format for Path {
    type Value = PathBuf;
    const PLACEHOLDER: &'static str = "path";
    fn parse(text: &str) -> Result<PathBuf, String> {
        Ok(PathBuf::from(text))
    }
}

/// What Go's `strconv.ParseBool` takes.
pub struct Bool;
impl Format for Bool {
    type Value = bool;
    const PLACEHOLDER: &'static str = "true|false";
    fn parse(text: &str) -> Result<bool, String> {
        match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(parse_error()),
        }
    }
}

/// A whole number, also in Go's `0x`, `0o`, `0b` and `1_000` spellings.
fn whole(text: &str) -> Result<i128, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let body = body.replace('_', "");
    if body.starts_with(['+', '-']) {
        return Err(parse_error());
    }
    i128::from_str_radix(&body, radix)
        .map(|number| sign * number)
        .map_err(|_| parse_error())
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident => $type:ty) => {
        $(#[$doc])*
        pub struct $name;
        impl Format for $name {
            type Value = $type;
            const PLACEHOLDER: &'static str = "number";
            fn parse(text: &str) -> Result<$type, String> {
                let number = whole(text)?;
                if number < 0 && <$type>::MIN == 0 {
                    return Err(parse_error());
                }
                <$type>::try_from(number).map_err(|_| "value out of range".to_owned())
            }
        }
    };
}
number!(
    /// A whole number, negative too.
    Int => i64
);
number!(
    /// A whole number from 0.
    Uint => u64
);
number!(
    /// A whole number from 0 to 2^32-1.
    Uint32 => u32
);
number!(
    /// A count or size in memory.
    Size => usize
);

/// A whole number of milliseconds.
pub struct Millis;
impl Format for Millis {
    type Value = Duration;
    const PLACEHOLDER: &'static str = "ms";
    fn parse(text: &str) -> Result<Duration, String> {
        Uint::parse(text).map(Duration::from_millis)
    }
}

/// A whole number of seconds.
pub struct Seconds;
impl Format for Seconds {
    type Value = Duration;
    const PLACEHOLDER: &'static str = "s";
    fn parse(text: &str) -> Result<Duration, String> {
        Uint::parse(text).map(Duration::from_secs)
    }
}

/// A duration as Go writes it: `300ms`, `1.5h`, `2h45m`.
pub struct Span;
impl Format for Span {
    type Value = Duration;
    const PLACEHOLDER: &'static str = "duration";
    const IN_FILE: InFile = InFile::Nanoseconds;
    fn parse(text: &str) -> Result<Duration, String> {
        duration(text)
    }
}

/// Parses Go's duration syntax; negative ones are refused, since no flag
/// gives them a meaning.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = parse_error;
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut nanos = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let amount: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        nanos += amount
            * match &rest[..unit] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(wrong()),
            };
        rest = &rest[unit..];
    }
    // Go keeps a duration in 63 bits of nanoseconds.
    if nanos >= i64::MAX as f64 {
        return Err("value out of range".to_owned());
    }
    Ok(Duration::from_nanos(nanos.round() as u64))
}

/// Comma-separated texts; empty for none.
pub struct List;
impl Format for List {
    type Value = Vec<String>;
    const PLACEHOLDER: &'static str = "a,b";
    fn parse(text: &str) -> Result<Vec<String>, String> {
        Ok(text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect())
    }
}

/// Comma-separated URLs, sorted as etcd keeps them.
pub struct Urls;
impl Format for Urls {
    type Value = Vec<Url>;
    const PLACEHOLDER: &'static str = "urls";
    fn parse(text: &str) -> Result<Vec<Url>, String> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let mut urls = text
            .split(',')
            .map(|url| Url::parse(url.trim()))
            .collect::<Result<Vec<_>, _>>()?;
        urls.sort_by_key(Url::to_string);
        Ok(urls)
    }
}

macro_rules! choice {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }
        late: $late:literal, else $other:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// The value as the flag spells it.
            // Not every choice is printed.
            #[allow(dead_code)]
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl Format for $name {
            type Value = Self;
            const PLACEHOLDER: &'static str = choice!(@join $($text),+);
            const CHECKED_LATE: bool = $late;
            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => ($other)(text),
                }
            }
        }
    };
    (@join $first:literal $(, $rest:literal)*) => { concat!($first $(, "|", $rest)*) };
}

choice!(
    /// What `auto-compaction-retention` counts.
    AutoCompactionMode {
        /// Time.
        Periodic = "periodic",
        /// Revisions.
        Revision = "revision",
    }
    late: true, else |text| Err(format!("unknown auto-compaction-mode {text:?}"))
);
choice!(
    /// Whether this start founds the cluster.
    ClusterState {
        /// It does.
        New = "new",
        /// The cluster runs already.
        Existing = "existing",
    }
    late: false, else |_| Err("invalid value".to_owned())
);
choice!(
    /// The least severe message that is logged.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// The usual.
        Info = "info",
        /// What an operator should look at.
        Warn = "warn",
        /// What failed.
        Error = "error",
        /// As `error`: nothing here is logged as a panic.
        Panic = "panic",
        /// The last words only.
        Fatal = "fatal",
    }
    late: false, else |text| Err(format!("unrecognized level: {text:?}"))
);
choice!(
    /// The shape of a log line.
    LogFormat {
        /// One JSON object.
        Json = "json",
        /// Columns, for people.
        Console = "console",
    }
    late: true, else |text| Err(format!("unknown log format: {text}, supported values json, console"))
);
choice!(
    /// How much is measured. As in etcd, any other word means `basic`.
    MetricsLevel {
        /// etcd's default.
        Basic = "basic",
        /// With a latency histogram per RPC.
        Extensive = "extensive",
    }
    late: false, else |_| Ok(Self::Basic)
);

/// `auto-compaction-retention`: its meaning depends on the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// A bare number: hours, or revisions.
    Count(u64),
    /// A duration.
    Time(Duration),
}

impl Format for Retention {
    type Value = Self;
    const PLACEHOLDER: &'static str = "0|number|duration";
    const CHECKED_LATE: bool = true;
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Count(0));
        }
        match text.parse() {
            Ok(count) => Ok(Self::Count(count)),
            Err(_) => duration(text).map(Self::Time).map_err(|_| {
                format!("error parsing CompactionRetention: time: invalid duration {text:?}")
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        let table = [
            ("0", 0),
            ("300ms", 300_000_000),
            ("1.5s", 1_500_000_000),
            ("2h45m", 9_900_000_000_000),
            ("1m0s", 60_000_000_000),
            ("7us", 7_000),
        ];
        for (text, nanos) in table {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for bad in ["", "5", "-1s", "1x", "s", ".", "1s2", "9999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_go_s() {
        assert_eq!(Uint::parse("0x10"), Ok(16));
        assert_eq!(Int::parse("-1_000"), Ok(-1000));
        assert_eq!(Uint32::parse("4294967295"), Ok(u32::MAX));
        for bad in ["", "-", "1.5", "0x", "--1", "1e3"] {
            assert!(Int::parse(bad).is_err(), "{bad}");
        }
        assert!(Uint::parse("-1").is_err());
        assert!(Uint32::parse("4294967296").is_err());
    }

    #[test]
    fn booleans_and_choices() {
        assert_eq!((Bool::parse("T"), Bool::parse("0")), (Ok(true), Ok(false)));
        assert!(Bool::parse("yes").is_err());
        assert_eq!(LogLevel::parse("warn"), Ok(LogLevel::Warn));
        assert_eq!(
            LogLevel::parse("loud"),
            Err("unrecognized level: \"loud\"".to_owned())
        );
    }

    #[test]
    fn retention_keeps_what_was_written() {
        assert_eq!(Retention::parse("5"), Ok(Retention::Count(5)));
        assert_eq!(
            Retention::parse("5m"),
            Ok(Retention::Time(Duration::from_secs(300)))
        );
        assert!(Retention::parse("-1").is_err());
    }
}
