//! Tower layers of the client port: metrics, deadlines, limits.
