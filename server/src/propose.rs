//! Admission (size, backlog, quota), request ID, deadline, wait for apply.
