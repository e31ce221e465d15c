//! Accept thread, RPC threads, deferred-flush IO.
