//! Quota and alarms: when NOSPACE is raised, and what it refuses.
