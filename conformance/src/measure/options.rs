//! What the command line asks for.

use std::path::PathBuf;

/// Sizes of a run. The defaults are those that the budgets are about.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names of lines and sections; all of them without.
    pub only: Option<Vec<String>>,
    /// Rounds of each line, alternations of each housekeeping.
    pub rounds: Option<usize>,
    /// Keys to load, instead of each section's own number.
    pub keys: Option<u64>,
    /// Length of a window, instead of each section's own.
    pub secs: Option<u64>,
    /// Puts a second beside other work, instead of each section's own.
    pub rate: Option<u64>,
    /// Whether the reference is measured beside us where that is not the point.
    pub reference: bool,
    /// The document to write to.
    pub out: Option<PathBuf>,
}

impl Options {
    /// Reads `--only A,B --rounds N --keys N --secs N --rate N --ours --out FILE`.
    ///
    /// # Errors
    /// With a sentence when something else is asked.
    pub fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            only: None,
            rounds: None,
            keys: None,
            secs: None,
            rate: None,
            reference: true,
            out: None,
        };
        while let Some(name) = arguments.next() {
            if name == "--ours" {
                options.reference = false;
                continue;
            }
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name} wants a value"))?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{name} wants a number, not {value}"))
            };
            match name.as_str() {
                "--only" => options.only = Some(value.split(',').map(str::to_owned).collect()),
                "--rounds" => options.rounds = usize::try_from(number()?).ok(),
                "--keys" => options.keys = Some(number()?),
                "--secs" => options.secs = Some(number()?),
                "--rate" => options.rate = Some(number()?),
                "--out" => options.out = Some(value.into()),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(options)
    }

    /// Whether a line or section is to be measured.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        let only = self.only.as_ref();
        only.is_none_or(|names| names.iter().any(|wanted| wanted == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        Options::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_unknown_is_refused() {
        let options = read("--only put-1,lease --rounds 5 --ours").expect("all of it is known");
        assert!(options.wants("lease") && !options.wants("put-1000"));
        assert_eq!((options.rounds, options.reference), (Some(5), false));
        assert!(read("").expect("nothing is asked").wants("anything"));
        for line in ["--only", "--rounds x", "--fast 1"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
