//! Reads scripts.

const FORMATS: [&str; 4] = ["simple", "json", "fields", "table"];

/// One run of etcdctl.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Where it stands in its script.
    pub line: usize,
    /// The arguments.
    pub words: Vec<String>,
    /// What it reads.
    pub stdin: String,
    /// The name its first id gets.
    pub bind: Option<String>,
    /// End it after so many lines.
    pub until_lines: Option<usize>,
}

/// All steps of a script.
///
/// # Panics
/// On a line that makes no sense.
#[must_use]
pub fn parse(script: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in script.lines().enumerate() {
        if let Some(input) = line.strip_prefix("    ") {
            let step = steps.last_mut().expect("input follows a command");
            step.stdin.push_str(input);
            step.stdin.push('\n');
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            steps.push(command(number + 1, line));
        }
    }
    steps.into_iter().flat_map(in_all_formats).collect()
}

fn command(line: usize, text: &str) -> Step {
    let mut step = Step {
        line,
        ..Step::default()
    };
    let mut rest = text;
    if let Some((before, name)) = rest.split_once(" => ") {
        step.bind = Some(name.trim().to_owned());
        rest = before;
    }
    if let Some((before, count)) = rest.split_once(" until ") {
        let count = count.trim_end_matches(" lines").trim();
        step.until_lines = Some(count.parse().expect("until N lines"));
        rest = before;
    }
    step.words = split(rest);
    step
}

/// Words at spaces; single quotes keep spaces, and make empty words.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None;
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_with(String::new);
            }
            ' ' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_with(String::new).push(letter),
        }
    }
    words.extend(word);
    words
}

fn in_all_formats(step: Step) -> Vec<Step> {
    let Some(at) = step.words.iter().position(|word| word == "*") else {
        return vec![step];
    };
    let with = |format: &&str| {
        let mut step = step.clone();
        step.words[at] = (*format).to_owned();
        step
    };
    FORMATS.iter().map(with).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_words_input_names_and_formats() {
        let steps = parse("# c\nput 'a b' '' => L\ntxn -w *\n    x\n\nwatch a until 3 lines\n");
        assert_eq!(steps[0].words, ["put", "a b", ""]);
        assert_eq!(steps[0].bind.as_deref(), Some("L"));
        assert_eq!((steps.len(), steps[4].stdin.as_str()), (6, "x\n"));
        assert_eq!(steps[5].until_lines, Some(3));
    }
}
