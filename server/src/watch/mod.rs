//! Watches: matching, delivery, progress.
