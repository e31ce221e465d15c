//! The text format, with numbers spelled as Go spells them: some scripts read
//! `2.147483648e+09` with a pattern.

use prometheus::proto::{LabelPair, MetricFamily, MetricType};
use std::fmt::Write as _;

/// Its content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// All families as text.
pub fn text(families: &[MetricFamily]) -> String {
    let mut text = String::with_capacity(64 << 10);
    for family in families {
        let name = family.name();
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::SUMMARY => "summary",
            MetricType::UNTYPED => "untyped",
            MetricType::HISTOGRAM => "histogram",
        };
        let help = family.help().replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for metric in family.get_metric() {
            let labels = metric.get_label();
            match family.get_field_type() {
                MetricType::COUNTER => sample(
                    &mut text,
                    name,
                    labels,
                    None,
                    &number(metric.get_counter().get_value()),
                ),
                MetricType::HISTOGRAM => {
                    let histogram = metric.get_histogram();
                    let bucket = format!("{name}_bucket");
                    for part in histogram.get_bucket() {
                        let bound = number(part.upper_bound());
                        sample(
                            &mut text,
                            &bucket,
                            labels,
                            Some(&bound),
                            &part.cumulative_count().to_string(),
                        );
                    }
                    let count = histogram.get_sample_count().to_string();
                    sample(&mut text, &bucket, labels, Some("+Inf"), &count);
                    sample(
                        &mut text,
                        &format!("{name}_sum"),
                        labels,
                        None,
                        &number(histogram.get_sample_sum()),
                    );
                    sample(&mut text, &format!("{name}_count"), labels, None, &count);
                }
                _ => sample(
                    &mut text,
                    name,
                    labels,
                    None,
                    &number(metric.get_gauge().get_value()),
                ),
            }
        }
    }
    text
}

fn sample(text: &mut String, name: &str, labels: &[LabelPair], bound: Option<&str>, value: &str) {
    text.push_str(name);
    let mut open = '{';
    let pairs = labels
        .iter()
        .map(|label| (label.name(), label.value()))
        .chain(bound.map(|bound| ("le", bound)));
    for (label, value) in pairs {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = write!(text, "{open}{label}=\"{value}\"");
        open = ',';
    }
    if open == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

/// Go's shortest spelling of a float: with an exponent below 10^-4 and from
/// 10^6 on.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    format!(
        "{mantissa}e{}{:02}",
        if exponent < 0 { '-' } else { '+' },
        exponent.abs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

    #[test]
    fn numbers_are_spelled_as_go_does() {
        let table = [
            (0.0, "0"),
            (-1.0, "-1"),
            (2_147_483_648.0, "2.147483648e+09"),
            (20_000.0, "20000"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (0.0001, "0.0001"),
            (7.5974e-5, "7.5974e-05"),
            (0.026_750_274, "0.026750274"),
            (f64::INFINITY, "+Inf"),
        ];
        for (value, expected) in table {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn samples_have_sorted_labels_and_histograms_their_parts() {
        let registry = Registry::new();
        let counters =
            IntCounterVec::new(Opts::new("b_total", "Back\\slash."), &["z", "a"]).unwrap();
        counters
            .with_label_values(&["1", "qu\"ote"])
            .inc_by(3_000_000);
        let opts = HistogramOpts::new("h_seconds", "H.").buckets(vec![0.5, 1_048_576.0]);
        let histograms = HistogramVec::new(opts, &["x"]).unwrap();
        histograms.with_label_values(&["y"]).observe(1.25);
        registry.register(Box::new(counters)).unwrap();
        registry.register(Box::new(histograms)).unwrap();
        let expected = "\
# HELP b_total Back\\\\slash.
# TYPE b_total counter
b_total{a=\"qu\\\"ote\",z=\"1\"} 3e+06
# HELP h_seconds H.
# TYPE h_seconds histogram
h_seconds_bucket{x=\"y\",le=\"0.5\"} 0
h_seconds_bucket{x=\"y\",le=\"1.048576e+06\"} 1
h_seconds_bucket{x=\"y\",le=\"+Inf\"} 1
h_seconds_sum{x=\"y\"} 1.25
h_seconds_count{x=\"y\"} 1
";
        assert_eq!(text(&registry.gather()), expected);
    }
}
