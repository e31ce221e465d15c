//! Data directory, initial cluster, IDs as etcd computes them; first start and restart.
