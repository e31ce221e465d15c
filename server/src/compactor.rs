//! Auto compaction, periodic and by revision; only the leader runs it.
