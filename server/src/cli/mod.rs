//! Offline verbs and version lines.
