//! Sections of the report, and how they get into a document.

use super::{budget, machine};
use crate::measure::budget::Check;
use std::fs;
use std::path::Path;

/// What is between these lines is ours to replace.
const MARKS: (&str, &str) = ("<!-- bench: begin -->", "<!-- bench: end -->");
const HEADING: &str = "### ";

/// One subsection.
pub struct Section {
    /// Its heading; a section of the same heading is replaced.
    pub title: String,
    /// What was done, and a table.
    pub text: String,
    /// Budgets it is held against.
    pub checks: Vec<Check>,
}

impl Section {
    /// As Markdown, with the machine and the date: sections may be renewed one by one.
    #[must_use]
    pub fn markdown(&self) -> String {
        format!(
            "{HEADING}{}\n\n{}\n{}\n{}\n",
            self.title,
            self.text.trim_end(),
            budget::table(&self.checks),
            machine::describe()
        )
    }
}

/// Puts it into a file, in the place of the section of the same heading, else behind all others.
///
/// # Panics
/// When the file cannot be written.
pub fn write(file: &Path, section: &Section) {
    let old = fs::read_to_string(file).unwrap_or_default();
    fs::write(file, merged(&old, &section.title, &section.markdown()))
        .expect("--out can be written");
}

/// All budgets of a run in one table.
#[must_use]
pub fn all(checks: &[Check]) -> String {
    format!("\nAll budgets of this run:\n{}", budget::table(checks))
}

fn merged(old: &str, title: &str, section: &str) -> String {
    let (begin, end) = MARKS;
    let (before, inside, after) = match (old.split_once(begin), old.split_once(end)) {
        (Some((before, rest)), Some((_, after))) => {
            let inside = rest.split_once(end).map_or("", |(inside, _)| inside);
            (before.to_owned(), inside, after.to_owned())
        }
        _ if old.is_empty() => ("# Benchmarks\n\n".to_owned(), "", "\n".to_owned()),
        _ => (format!("{old}\n"), "", "\n".to_owned()),
    };
    let heading = format!("{HEADING}{title}\n");
    let mut sections: Vec<String> = inside
        .split(&format!("\n{HEADING}"))
        .skip(1)
        .map(|text| format!("{HEADING}{}\n", text.trim_end()))
        .collect();
    let section = format!("{}\n", section.trim_end());
    match sections.iter_mut().find(|old| old.starts_with(&heading)) {
        Some(old) => *old = section,
        None => sections.push(section),
    }
    format!("{before}{begin}\n{}{end}{after}", sections.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_replaces_itself_only() {
        let fresh = merged("", "a", "### a\n\nold\n");
        let two = merged(&fresh, "b", "### b\n\ntext\n");
        let three = merged(&two, "a", "### a\n\nnew\n");
        assert_eq!(
            three,
            "# Benchmarks\n\n<!-- bench: begin -->\n### a\n\nnew\n\n### b\n\ntext\n<!-- bench: end -->\n"
        );
    }

    #[test]
    fn what_is_around_the_marks_is_kept() {
        let old = "top\n<!-- bench: begin -->\nforeign\n<!-- bench: end -->\n\nbottom\n";
        let new = merged(old, "a", "### a\n\ntext");
        assert_eq!(
            new,
            "top\n<!-- bench: begin -->\n### a\n\ntext\n<!-- bench: end -->\n\nbottom\n"
        );
    }
}
