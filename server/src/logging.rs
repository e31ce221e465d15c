//! Logs in etcd's JSON shape.
