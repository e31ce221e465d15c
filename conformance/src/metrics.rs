//! The shape of a Prometheus page: families, types, label names, bucket bounds.

use std::collections::{BTreeMap, BTreeSet};

/// Families of the reference that ours need not have, by how their names begin.
const NOT_OURS: [(&str, &str); 3] = [
    ("go_", "of the Go runtime"),
    (
        "etcd_grpc_proxy_",
        "of the proxy, linked into the reference's server and always 0",
    ),
    (
        "etcd_debugging_store_",
        "of the v2 store, which is gone; always 0",
    ),
];

/// One metric family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// counter, gauge, histogram, summary.
    pub kind: String,
    /// Names of the labels of its samples; `le` and `quantile` apart.
    pub labels: BTreeSet<String>,
    /// Upper bounds of a histogram's buckets.
    pub bounds: BTreeSet<String>,
}

/// All families of a page by name.
#[must_use]
pub fn families(page: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in page.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap_or((declared, ""));
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if !line.starts_with('#') {
            sample(line, &mut families);
        }
    }
    families
}

fn sample(line: &str, families: &mut BTreeMap<String, Family>) {
    let name_end = line.find(['{', ' ']).unwrap_or(line.len());
    let (name, rest) = line.split_at(name_end);
    let base = ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .find(|base| families.contains_key(*base));
    let Some(family) = families.get_mut(base.unwrap_or(name)) else {
        return;
    };
    let Some(labels) = rest.strip_prefix('{') else {
        return;
    };
    for (label, value) in pairs(labels) {
        if label == "le" {
            family.bounds.insert(value);
        } else if label != "quantile" {
            family.labels.insert(label);
        }
    }
}

/// `a="b",c="d"} 1`; values have no quotes in them on these pages.
fn pairs(labels: &str) -> Vec<(String, String)> {
    let mut pieces = labels.split('"');
    let mut pairs = Vec::new();
    while let (Some(label), Some(value)) = (pieces.next(), pieces.next()) {
        let label = label.trim_matches([',', '=', ' ']);
        pairs.push((label.to_owned(), number(value)));
    }
    pairs
}

/// One spelling per number: `1`, `1.0` and `1e+00` are one bound.
fn number(value: &str) -> String {
    value
        .parse::<f64>()
        .map_or_else(|_| value.to_owned(), |number| number.to_string())
}

/// What ours lacks, or has in another shape.
#[must_use]
pub fn differences(
    theirs: &BTreeMap<String, Family>,
    ours: &BTreeMap<String, Family>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, wanted) in theirs {
        if NOT_OURS.iter().any(|(prefix, _)| name.starts_with(prefix)) {
            continue;
        }
        match ours.get(name) {
            None => wrong.push(format!("{name} ({}) is missing", wanted.kind)),
            Some(found) if found != wanted => {
                wrong.push(format!("{name}: {found:?} instead of {wanted:?}"));
            }
            Some(_) => {}
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let page = "# TYPE h histogram\nh_bucket{a=\"x\",le=\"1e+00\"} 0\nh_sum{a=\"x\"} 0\n# TYPE c counter\nc 1\n";
        let families = families(page);
        assert_eq!(families["h"].kind, "histogram");
        assert!(families["h"].labels.contains("a") && families["h"].bounds.contains("1"));
        assert_eq!(
            families["c"],
            Family {
                kind: "counter".to_owned(),
                ..Family::default()
            }
        );
    }
}
