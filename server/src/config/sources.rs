//! Where values come from: the command line, the environment, or one file
//! that replaces both.

use super::{
    Config, check,
    flags::{FLAGS, Flag, Status},
    help,
    relics::{self, Relic},
    values::InFile,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Something to log once logging is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The message.
    pub text: String,
    /// The name and value of its one field.
    pub field: Option<(&'static str, String)>,
}

impl Notice {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            field: None,
        }
    }

    fn with(text: impl Into<String>, field: &'static str, value: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            field: Some((field, value.into())),
        }
    }
}

/// A start as the flags want it.
#[derive(Debug)]
pub struct Loaded {
    /// All values.
    pub config: Config,
    /// Warnings about them.
    pub notices: Vec<Notice>,
}

/// Why there is no start.
#[derive(Debug)]
pub enum Stop {
    /// Help or version: print it and exit with 0.
    Print(String),
    /// A misspelt command line: message and usage on stderr, exit code 2.
    Usage(String),
    /// A line in the log, exit code 1.
    Refuse {
        /// The configuration as far as it was read: how to log.
        config: Box<Config>,
        /// Warnings collected until then.
        notices: Vec<Notice>,
        /// What is wrong.
        why: Notice,
    },
}

/// Reads everything. `arguments` without the program's name.
pub fn load(arguments: &[String], environment: &[(String, String)]) -> Result<Loaded, Stop> {
    let mut reader = Reader {
        config: Config::bare(),
        given: BTreeSet::new(),
        notices: Vec::new(),
        gates: Vec::new(),
    };
    let line = scan(arguments)?;
    if line.contains_key("version") {
        return Err(Stop::Print(help::version()));
    }
    let variable = environment
        .iter()
        .find(|(name, value)| name == "ETCD_CONFIG_FILE" && !value.is_empty());
    let file = line.get("config-file").or(variable.map(|(_, value)| value));
    let read = match file {
        Some(path) => reader.file(path),
        None => reader
            .line(line)
            .and_then(|()| reader.environment(environment).map_err(Mistake::Late)),
    };
    let checked = read.and_then(|()| {
        reader
            .config
            .set_gates(&reader.gates)
            .map_err(Mistake::Late)?;
        check::flags(&reader.config, &reader.given, &mut reader.notices).map_err(Mistake::Late)
    });
    let derived = |mut config: Config| {
        config.derive();
        config
    };
    match checked {
        Ok(()) => Ok(Loaded {
            config: derived(reader.config),
            notices: reader.notices,
        }),
        Err(Mistake::Spelling(text)) => Err(Stop::Usage(text)),
        Err(Mistake::Late(why)) => Err(Stop::Refuse {
            config: Box::new(derived(reader.config)),
            notices: reader.notices,
            why,
        }),
    }
}

enum Mistake {
    Spelling(String),
    Late(Notice),
}

/// etcd's line for anything wrong with the flags.
pub(super) fn unverified(error: impl Into<String>) -> Notice {
    Notice::with("failed to verify flags", "error", error)
}

/// Takes a command line apart as Go's flag package does: `-name` or
/// `--name`, `=value` or the next word, booleans without one.
fn scan(arguments: &[String]) -> Result<BTreeMap<String, String>, Stop> {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let Some(stripped) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            return Err(stray(word));
        };
        if word == "--" {
            return words.next().map_or(Ok(values), |word| Err(stray(word)));
        }
        if stripped.is_empty() || stripped.starts_with(['-', '=']) {
            return Err(Stop::Usage(format!("bad flag syntax: {word}")));
        }
        let (name, value) = stripped
            .split_once('=')
            .map_or((stripped, None), |(name, value)| (name, Some(value)));
        if name == "h" || name == "help" {
            return Err(Stop::Print(help::help()));
        }
        let is_bool = match FLAGS.iter().find(|flag| flag.name == name) {
            Some(flag) => flag.is_bool(),
            None if name == "version" => true,
            None if name == "config-file" => false,
            None if relics::find(name).is_some() => relics::is_bool(name),
            None => {
                return Err(Stop::Usage(format!(
                    "flag provided but not defined: -{name}"
                )));
            }
        };
        let value = match value {
            Some(value) => value.to_owned(),
            None if is_bool => "true".to_owned(),
            None => words
                .next()
                .ok_or_else(|| Stop::Usage(format!("flag needs an argument: -{name}")))?
                .clone(),
        };
        values.insert(name.to_owned(), value);
    }
    if values.get("version").is_some_and(|value| value == "false") {
        values.remove("version");
    }
    Ok(values)
}

fn stray(word: &str) -> Stop {
    let mut config = Config::bare();
    config.derive();
    Stop::Refuse {
        config: Box::new(config),
        notices: Vec::new(),
        why: unverified(format!("{word:?} is not a valid flag")),
    }
}

struct Reader {
    config: Config,
    given: BTreeSet<String>,
    notices: Vec<Notice>,
    /// Gates that old flags stand for: `Name=true`.
    gates: Vec<String>,
}

impl Reader {
    fn line(&mut self, line: BTreeMap<String, String>) -> Result<(), Mistake> {
        for (name, value) in line {
            self.set(&name, &value).map_err(|bad| {
                if bad.late {
                    return Mistake::Late(unverified(bad.why));
                }
                let is_bool = FLAGS.iter().any(|flag| flag.name == name && flag.is_bool());
                Mistake::Spelling(if is_bool {
                    format!("invalid boolean value {value:?} for -{name}: {}", bad.why)
                } else {
                    format!("invalid value {value:?} for flag -{name}: {}", bad.why)
                })
            })?;
        }
        Ok(())
    }

    fn environment(&mut self, environment: &[(String, String)]) -> Result<(), Notice> {
        let on_line = self.given.clone();
        for (variable, value) in environment
            .iter()
            .filter(|(name, _)| name.starts_with("ETCD_"))
        {
            if variable == "ETCD_VERSION" && !value.is_empty() {
                self.notices.push(Notice::with(
                    "cannot set special environment variable",
                    "key",
                    variable.as_str(),
                ));
                continue;
            }
            let name = name_of(variable).filter(|_| !value.is_empty());
            let Some(name) = name else {
                if variable != "ETCD_CONFIG_FILE" && !variable.starts_with("ETCD_UNSUPPORTED_ARCH")
                {
                    let shown = format!("{variable}={value}");
                    self.notices.push(Notice::with(
                        "unrecognized environment variable",
                        "environment-variable",
                        shown,
                    ));
                }
                continue;
            };
            if on_line.contains(&name) {
                return Err(Notice::with(
                    "conflicting environment variable is shadowed by corresponding command-line flag \
                     (either unset environment variable or disable flag))",
                    "environment-variable",
                    variable.as_str(),
                ));
            }
            self.set(&name, value).map_err(|bad| {
                unverified(if bad.late {
                    bad.why
                } else {
                    format!("invalid value {value:?} for {variable}: {}", bad.why)
                })
            })?;
        }
        Ok(())
    }

    fn file(&mut self, path: &str) -> Result<(), Mistake> {
        let late = |error: String| Mistake::Late(unverified(error));
        let text = std::fs::read_to_string(path)
            .map_err(|error| late(format!("open {path}: {}", plain(&error))))?;
        let tree: Value =
            serde_yaml_ng::from_str(&text).map_err(|error| late(format!("{path}: {error}")))?;
        self.notices.push(Notice::with(
            "Loaded server configuration file; other command line flags and environment variables are ignored",
            "path",
            path,
        ));
        for flag in FLAGS.iter() {
            let Some(key) = &flag.yaml else { continue };
            let Some(value) = key
                .split('.')
                .try_fold(&tree, |tree, part| tree.get(part))
                .and_then(|value| in_flag(flag, value))
            else {
                continue;
            };
            self.set(&flag.name, &value).map_err(|bad| {
                late(format!(
                    "{path}: invalid value {value:?} for {key}: {}",
                    bad.why
                ))
            })?;
        }
        Ok(())
    }

    /// Sets one flag from wherever; old names go to what they stand for.
    fn set(&mut self, name: &str, value: &str) -> Result<(), super::flags::BadValue> {
        match relics::find(name) {
            Some(Relic::Renamed(new)) => {
                self.notices.push(Notice::new(format!(
                    "--{name} is gone since etcd 3.7: taken as --{new}"
                )));
                return self.set(new, value);
            }
            Some(Relic::Gate(gate)) => {
                self.notices.push(Notice::new(format!(
                    "--{name} is gone since etcd 3.7: taken as --feature-gates={gate}={value}"
                )));
                self.gates.push(format!("{gate}={value}"));
                return Ok(());
            }
            Some(Relic::Ignored) => {
                self.notices.push(Notice::new(format!(
                    "--{name} is ignored: etcd 3.7 has no such flag"
                )));
                return Ok(());
            }
            None => {}
        }
        let Some(set) = self.config.set(name, value) else {
            return Ok(());
        };
        set?;
        self.given.insert(name.to_owned());
        self.warn(name);
        Ok(())
    }

    fn warn(&mut self, name: &str) {
        let Some(flag) = FLAGS.iter().find(|flag| flag.name == name) else {
            return;
        };
        let what = match flag.status {
            Status::Later => "not built yet: it has no effect",
            Status::Ignored => "ignored: what it tunes does not exist here",
            Status::Built | Status::Moot | Status::Refused => return,
        };
        self.notices
            .push(Notice::new(format!("--{name} is {what}")));
    }
}

/// The flag of a variable.
fn name_of(variable: &str) -> Option<String> {
    let name = variable
        .strip_prefix("ETCD_")?
        .to_lowercase()
        .replace('_', "-");
    let known = FLAGS
        .iter()
        .any(|flag| flag.name == name && flag.variable() == variable)
        || relics::find(&name).is_some();
    known.then_some(name)
}

/// A value of a config file as the command line would spell it; `None` for null.
fn in_flag(flag: &Flag, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if flag.in_file == InFile::Nanoseconds => Some(format!("{number}ns")),
        Value::Array(parts) => Some(
            parts
                .iter()
                .filter_map(|part| in_flag(flag, part))
                .collect::<Vec<_>>()
                .join(","),
        ),
        other => Some(other.to_string()),
    }
}

/// An I/O error in the words of Go: no number behind.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
