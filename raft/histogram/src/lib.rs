//! What openraft keeps its statistics in, without the counts: nothing here reads them (metrics are
//! etcd's, made by `server/src/metrics/`), and the crate of this name keeps 25 MiB of tables in
//! memory from its first use on (docs/adr/0008).
//!
//! The interface is as much of that crate's as openraft asks for.

use std::fmt;
use std::marker::PhantomData;

/// Takes values and keeps none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    /// One without values.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }

    /// Takes a value.
    pub fn record(&mut self, _value: u64) {}

    /// Takes a value so many times.
    pub fn record_n(&mut self, _value: u64, _count: u64) {}

    /// Those of no values.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// A histogram in numbers: its count of samples, and the values that so many percent of them are below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} samples", self.samples)
    }
}

/// Histograms as a drawing, of which there is nothing to see.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart;

impl AsciiChart {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    /// Takes one more.
    #[must_use]
    pub fn add(self, _name: &str, _of: Histogram) -> Self {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}
