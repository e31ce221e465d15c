//! Logs in etcd's shape: one JSON object a line (`level`, `ts`, `caller`,
//! `msg`, then the fields), or columns for people.
//!
//! A field that is a list is given as `?list` and printed as a JSON list.

use crate::config::{Config, LogFormat, LogLevel};
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    fmt::{self, Write as _},
    fs::OpenOptions,
    io::{self, Write},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{Layer, layer::Context, prelude::*};

/// The target of a process's last words: printed as level `fatal`, and no
/// line follows it.
pub const FATAL: &str = "sternpost::fatal";

/// Sets up logging for the whole process. Fails if a log file can't be opened.
pub fn start(config: &Config) -> io::Result<()> {
    let lines = Lines {
        format: config.log_format,
        least: filter(config.log_level),
        fatal_only: matches!(config.log_level, LogLevel::Fatal | LogLevel::Panic),
        outputs: Arc::new(Mutex::new(open(&config.log_outputs)?)),
    };
    // A second call (a test, a refused start) keeps the first set-up.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines));
    std::panic::set_hook(Box::new(|panic| {
        let at = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("panic");
        tracing::error!(at, "panic: {text}");
    }));
    Ok(())
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error | LogLevel::Panic | LogLevel::Fatal => LevelFilter::ERROR,
    }
}

type Output = Box<dyn Write + Send>;

fn open(names: &[String]) -> io::Result<Vec<Output>> {
    names
        .iter()
        .map(|name| match name.as_str() {
            // journald reads stderr of a unit.
            "default" | "stderr" | "systemd/journal" => Ok(Box::new(io::stderr()) as Output),
            "stdout" => Ok(Box::new(io::stdout()) as Output),
            file => {
                let opened = OpenOptions::new().create(true).append(true).open(file);
                opened
                    .map(|file| Box::new(file) as Output)
                    .map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))
            }
        })
        .collect()
}

/// Turns events into lines.
struct Lines {
    format: LogFormat,
    least: LevelFilter,
    fatal_only: bool,
    outputs: Arc<Mutex<Vec<Output>>>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        if metadata.target() == FATAL {
            return true;
        }
        // What the libraries find worth an info line is noise to an operator.
        let ours = metadata.target().starts_with("sternpost");
        let least = if ours || self.least == LevelFilter::DEBUG {
            self.least
        } else if metadata.target().starts_with("openraft") {
            // It warns each time a peer does not answer; we say it once.
            self.least.min(LevelFilter::ERROR)
        } else {
            self.least.min(LevelFilter::WARN)
        };
        !self.fatal_only && metadata.is_event() && *metadata.level() <= least
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.least)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let fatal = metadata.target() == FATAL;
        let level = if fatal {
            "fatal"
        } else {
            name(*metadata.level())
        };
        let caller = caller(
            metadata.file().unwrap_or_default(),
            metadata.line().unwrap_or(0),
        );
        let line = line(
            self.format,
            level,
            &timestamp(SystemTime::now()),
            &caller,
            &fields,
        );
        let mut outputs = self.outputs.lock();
        for output in outputs.iter_mut() {
            // A log that can't be written must not stop the service.
            let _ = output.write_all(line.as_bytes());
        }
        if fatal {
            // What other threads find broken on the way out is no cause.
            outputs.clear();
        }
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

/// `server/main.rs:12`: the crate or folder, the file, the line.
fn caller(file: &str, line: u32) -> String {
    let mut parts: Vec<&str> = file.split('/').filter(|part| *part != "src").collect();
    let keep = parts.split_off(parts.len().saturating_sub(2));
    format!("{}:{line}", keep.join("/"))
}

fn line(format: LogFormat, level: &str, ts: &str, caller: &str, fields: &Fields) -> String {
    let mut line = String::with_capacity(256);
    let quoted = |text: &str| Value::from(text).to_string();
    match format {
        LogFormat::Json => {
            let _ = write!(
                line,
                "{{\"level\":\"{level}\",\"ts\":\"{ts}\",\"caller\":{},\"msg\":{}",
                quoted(caller),
                quoted(&fields.message)
            );
            for (name, value) in &fields.rest {
                let _ = write!(line, ",{}:{value}", quoted(name));
            }
            line.push('}');
        }
        LogFormat::Console => {
            let _ = write!(line, "{ts}\t{level}\t{caller}\t{}", fields.message);
            for (at, (name, value)) in fields.rest.iter().enumerate() {
                let _ = write!(
                    line,
                    "{}{}: {value}",
                    if at == 0 { "\t{" } else { ", " },
                    quoted(name)
                );
            }
            if !fields.rest.is_empty() {
                line.push('}');
            }
        }
    }
    line.push('\n');
    line
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        if field.name() != "message" {
            self.rest.push((field.name(), value));
        } else if let Value::String(text) = value {
            self.message = text;
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        let list = text
            .starts_with('[')
            .then(|| serde_json::from_str::<Value>(&text).ok())
            .flatten();
        self.add(field, list.unwrap_or(Value::String(text)));
    }
}

/// RFC 3339 in UTC with microseconds, as etcd prints it.
fn timestamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (seconds, micros) = (since.as_secs(), since.subsec_micros());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The Gregorian date so many days after 1970-01-01. Years are counted from
/// March, so that the leap day is a year's last.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: LogLevel, say: impl FnOnce()) -> String {
        let sink = Sink::default();
        let lines = Lines {
            format,
            least: filter(level),
            fatal_only: level == LogLevel::Fatal,
            outputs: Arc::new(Mutex::new(vec![Box::new(sink.clone())])),
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), say);
        let bytes = sink.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_has_etcd_s_shape() {
        let line = logged(LogFormat::Json, LogLevel::Info, || {
            let urls = ["http://127.0.0.1:2379"];
            tracing::info!("listen-client-urls" = ?urls, "max-wals" = 5, ready = true, name = "m\"1", "ready to serve client requests");
        });
        let value: Value = serde_json::from_str(&line).unwrap();
        assert!(
            line.starts_with("{\"level\":\"info\",\"ts\":\"2") && line.ends_with("}\n"),
            "{line}"
        );
        assert_eq!(value["msg"], "ready to serve client requests");
        assert_eq!(value["listen-client-urls"][0], "http://127.0.0.1:2379");
        assert_eq!(
            (&value["max-wals"], &value["ready"], &value["name"]),
            (&5.into(), &true.into(), &"m\"1".into())
        );
        let caller = value["caller"].as_str().unwrap();
        assert!(caller.starts_with("server/logging.rs:"), "{caller}");
    }

    #[test]
    fn levels_are_filtered_and_fatal_speaks_always_and_last() {
        let say = || {
            tracing::debug!("quiet");
            tracing::warn!("loud");
            tracing::error!(target: FATAL, error = "disk", "last words");
            tracing::error!("too late");
        };
        let all = logged(LogFormat::Json, LogLevel::Debug, say);
        assert!(all.trim_end().ends_with("\"error\":\"disk\"}"), "{all}");
        assert!(!logged(LogFormat::Json, LogLevel::Info, say).contains("quiet"));
        assert!(logged(LogFormat::Json, LogLevel::Debug, say).contains("quiet"));
        let fatal = logged(LogFormat::Json, LogLevel::Fatal, say);
        assert!(
            fatal.starts_with("{\"level\":\"fatal\"") && !fatal.contains("loud"),
            "{fatal}"
        );
    }

    #[test]
    fn console_lines_are_columns() {
        let line = logged(LogFormat::Console, LogLevel::Info, || {
            tracing::warn!(a = 1, b = "x", "careful")
        });
        let columns: Vec<&str> = line.trim_end().split('\t').collect();
        assert_eq!(
            (columns[1], columns[3], columns[4]),
            ("warn", "careful", "{\"a\": 1, \"b\": \"x\"}")
        );
    }

    #[test]
    fn times_are_utc_to_the_microsecond() {
        let at = |seconds, nanos| timestamp(UNIX_EPOCH + Duration::new(seconds, nanos));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_827_696, 5_000), "2000-02-29T12:34:56.000005Z");
        assert_eq!(
            at(1_795_265_835, 787_804_999),
            "2026-11-21T12:57:15.787804Z"
        );
    }
}
