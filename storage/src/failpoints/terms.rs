//! gofail's terms, in the words of the crate `fail`.

/// No thread is held longer than this: an hour, in milliseconds.
const SLEEP_MAX_MS: f64 = 3_600_000.0;

/// Go's units of time, in milliseconds.
const UNITS: [(&str, f64); 7] = [
    ("ns", 1e-6),
    ("us", 1e-3),
    ("µs", 1e-3),
    ("ms", 1.0),
    ("s", 1e3),
    ("m", 6e4),
    ("h", 3.6e6),
];

/// The same terms for `fail`; `return` only where a step `fails`. The error
/// says what is wrong.
pub fn translate(terms: &str, fails: bool) -> Result<String, String> {
    let translated: Result<Vec<_>, _> = terms
        .split("->")
        .map(|term| translate_one(term.trim(), fails))
        .collect();
    Ok(translated?.join("->"))
}

/// `[percent%][count*]action[(argument)]`.
fn translate_one(term: &str, fails: bool) -> Result<String, String> {
    let begin = term.split('(').next().unwrap_or_default();
    let begin = begin.find(|c: char| !c.is_ascii_digit() && !"%*.".contains(c));
    let (odds, action) = term.split_at(begin.ok_or_else(|| format!("{term:?} has no action"))?);
    let (name, argument) = match action.split_once('(') {
        None => (action, None),
        Some((name, rest)) => {
            let argument = rest.strip_suffix(')');
            let argument = argument.ok_or_else(|| format!("{term:?} has no closing bracket"))?;
            (name, Some(argument))
        }
    };
    match (name, argument) {
        ("off" | "panic", None) => Ok(format!("{odds}{name}")),
        ("panic", Some(text)) => Ok(format!("{odds}panic({})", unquoted(text))),
        ("sleep", Some(time)) => Ok(format!("{odds}sleep({})", millis(unquoted(time))?)),
        ("sleep", None) => Err("sleep needs a time, such as sleep(\"1s\")".to_owned()),
        ("return", _) if !fails => Err("this step can't fail, so it has no return".to_owned()),
        ("return", None) => Ok(format!("{odds}return")),
        ("return", Some(text)) => Ok(format!("{odds}return({})", unquoted(text))),
        _ => Err(format!(
            "{action:?} is no action: off, panic, sleep and return are"
        )),
    }
}

fn unquoted(text: &str) -> &str {
    let inside = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inside.unwrap_or(text)
}

/// Milliseconds, of a plain number or of a time as Go writes it (`1m1.5s`).
fn millis(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time: 100, \"100ms\" and \"1.5s\" are");
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let end = after.find(|c: char| c.is_ascii_digit());
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let factor = match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => *factor,
            None if unit.is_empty() && number.to_string() == text => 1.0,
            None => return Err(wrong()),
        };
        total += number * factor;
        rest = after;
    }
    match text.is_empty() || total > SLEEP_MAX_MS {
        true => Err(wrong() + ", up to an hour"),
        // Not below 0, and small.
        false => Ok(total.round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_those_of_gofail() {
        for (gofail, ours) in [
            ("panic", "panic"),
            ("off", "off"),
            ("panic(\"why\")", "panic(why)"),
            ("sleep(\"1s\")", "sleep(1000)"),
            ("sleep(250)", "sleep(250)"),
            ("sleep(\"1m1.5s\")", "sleep(61500)"),
            ("sleep(\"1500us\")", "sleep(2)"),
            ("2*sleep(10) -> panic", "2*sleep(10)->panic"),
            ("12.5%panic", "12.5%panic"),
            ("return(\"no % of 3*3\")", "return(no % of 3*3)"),
            ("return", "return"),
        ] {
            assert_eq!(translate(gofail, true).as_deref(), Ok(ours), "{gofail}");
        }
    }

    #[test]
    fn what_is_no_term_is_refused() {
        for terms in [
            "",
            "3*",
            "sleep",
            "sleep()",
            "sleep(\"\")",
            "sleep(\"1\")(",
            "sleep(1",
            "sleep(\"1x\")",
            "sleep(\"-1s\")",
            "sleep(\"2h\")",
            "sleep(\"1s5\")",
            "pause",
            "print",
            "panic->",
        ] {
            assert!(translate(terms, true).is_err(), "{terms}");
        }
        assert!(translate("return", false).is_err());
    }
}
