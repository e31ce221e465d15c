//! Latencies, exactly: a number per operation is small beside the operation.

use std::time::Duration;

/// Latencies in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    micros: Vec<u32>,
    sorted: bool,
}

impl Latencies {
    /// One more.
    pub fn push(&mut self, latency: Duration) {
        self.micros
            .push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        self.sorted = false;
    }

    /// All of another.
    pub fn merge(&mut self, other: &Self) {
        self.micros.extend_from_slice(&other.micros);
        self.sorted = false;
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.micros.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.micros.is_empty()
    }

    /// The smallest latency, in milliseconds, that `share` of all do not exceed.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    pub fn quantile_ms(&mut self, share: f64) -> f64 {
        if !self.sorted {
            self.micros.sort_unstable();
            self.sorted = true;
        }
        let rank = (share * self.micros.len() as f64).ceil() as usize;
        let found = self.micros.get(rank.max(1) - 1);
        found.map_or(0.0, |micros| f64::from(*micros) / 1e3)
    }

    /// The longest, in milliseconds.
    pub fn max_ms(&mut self) -> f64 {
        self.quantile_ms(1.0)
    }
}

/// Reads one number off a result, for a row or a column of a table.
pub type Of<T> = fn(&T) -> f64;

/// The middle one.
///
/// # Panics
/// Without numbers.
#[must_use]
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_latencies_that_were_measured() {
        let mut latencies = Latencies::default();
        for millis in (1..=1000).rev() {
            latencies.push(Duration::from_millis(millis));
        }
        let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-9, "{got}, not {want}");
        close(latencies.quantile_ms(0.5), 500.0);
        close(latencies.quantile_ms(0.99), 990.0);
        close(latencies.quantile_ms(0.999), 999.0);
        close(latencies.max_ms(), 1000.0);
        close(Latencies::default().quantile_ms(0.5), 0.0);
    }
}
