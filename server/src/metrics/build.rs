//! Makes and registers families; a name stands in this program once, so a
//! failed registration is a mistake that the first start shows.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, core::Collector, exponential_buckets,
};

/// The type that a method of [`Builder`] makes.
macro_rules! family {
    (counter) => {
        prometheus::IntCounter
    };
    (counters) => {
        prometheus::IntCounterVec
    };
    (gauge) => {
        prometheus::IntGauge
    };
    (gauges) => {
        prometheus::IntGaugeVec
    };
    (histogram) => {
        prometheus::Histogram
    };
    (histograms) => {
        prometheus::HistogramVec
    };
    (requests) => {
        $crate::metrics::requests::RequestDurations
    };
    (outcomes) => {
        $crate::metrics::requests::OutcomeDurations
    };
    (clients) => {
        $crate::metrics::requests::ClientRequests
    };
}

/// Declares a group of families: a field per row, made by the method of
/// [`Builder`] that the row names. The row's comment is its help text, too.
macro_rules! families {
    (
        $(#[$group_doc:meta])*
        $group:ident {
            $(
                #[doc = $help:literal]
                $field:ident: $method:ident($name:literal $(, $argument:expr)*);
            )+
        }
    ) => {
        $(#[$group_doc])*
        pub struct $group {
            $(
                #[doc = $help]
                pub $field: $crate::metrics::build::family!($method),
            )+
        }

        impl $group {
            pub(super) fn new(add: &Builder<'_>) -> Self {
                Self { $($field: add.$method($name, $help.trim_ascii() $(, $argument)*),)+ }
            }
        }
    };
}

pub(super) use {families, family};

/// Adds families to a registry.
pub struct Builder<'a>(pub &'a Registry);

impl Builder<'_> {
    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let family = made.expect("a family's name and labels are well-formed");
        self.0
            .register(Box::new(family.clone()))
            .expect("a family is registered once");
        family
    }

    /// A counter without labels.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    /// A counter with labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge without labels.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    /// A gauge with labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A histogram without labels.
    pub fn histogram(&self, name: &str, help: &str, buckets: Buckets) -> Histogram {
        self.add(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets.bounds()),
        ))
    }

    /// A histogram with labels.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Buckets,
    ) -> HistogramVec {
        self.add(HistogramVec::new(
            HistogramOpts::new(name, help).buckets(buckets.bounds()),
            labels,
        ))
    }
}

/// Upper bounds of a histogram.
#[derive(Clone, Copy)]
pub enum Buckets {
    /// `count` bounds from `start`, each twice the one before.
    Doubling(f64, usize),
    /// Prometheus' defaults.
    Usual,
}

impl Buckets {
    fn bounds(self) -> Vec<f64> {
        match self {
            Self::Doubling(start, count) => exponential_buckets(start, 2.0, count)
                .expect("start is positive and count is not 0"),
            Self::Usual => prometheus::DEFAULT_BUCKETS.to_vec(),
        }
    }
}

/// From a millisecond to eight seconds: what most of etcd's histograms use.
pub const SECONDS: Buckets = Buckets::Doubling(0.001, 14);
