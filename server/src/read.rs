//! Serializable or linearizable reads: point reads inline, long ranges on a bounded pool.
