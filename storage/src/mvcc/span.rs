//! Which keys a request means.

/// The keys of a request's `key` and `range_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeySpan<'a> {
    /// Exactly this key.
    One(&'a [u8]),
    /// `[from, until)`; without `until` all keys from `from` on.
    Range {
        from: &'a [u8],
        until: Option<&'a [u8]>,
    },
}

impl<'a> KeySpan<'a> {
    /// By etcd's rules: an empty end means one key, a single zero byte means
    /// no end. An end at or below the key makes an empty span.
    pub(crate) fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        match range_end {
            [] => KeySpan::One(key),
            [0] => KeySpan::Range {
                from: key,
                until: None,
            },
            _ => KeySpan::Range {
                from: key,
                until: Some(range_end),
            },
        }
    }

    /// Whether `key` is in it.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        match *self {
            KeySpan::One(one) => one == key,
            KeySpan::Range { from, until } => from <= key && until.is_none_or(|until| key < until),
        }
    }

    /// Whether no key can be in it.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, KeySpan::Range { from, until: Some(until) } if until <= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_as_etcd_reads_them() {
        assert_eq!(KeySpan::new(b"a", b""), KeySpan::One(b"a"));
        assert_eq!(
            KeySpan::new(b"a", b"\0"),
            KeySpan::Range {
                from: b"a",
                until: None
            }
        );
        assert_eq!(
            KeySpan::new(b"a", b"b"),
            KeySpan::Range {
                from: b"a",
                until: Some(b"b")
            }
        );
        assert!(KeySpan::new(b"b", b"b").is_empty());
        assert!(KeySpan::new(b"b", b"a").is_empty());
        assert!(!KeySpan::new(b"\0", b"\0").is_empty());
        assert!(!KeySpan::new(b"a", b"").is_empty());
        let holds = |end: &'static [u8]| {
            [b"0", b"a", b"b", b"c"].map(|key| KeySpan::new(b"a", end).contains(key))
        };
        assert_eq!(holds(b""), [false, true, false, false]);
        assert_eq!(holds(b"c"), [false, true, true, false]);
        assert_eq!(holds(b"\0"), [false, true, true, true]);
        assert_eq!(holds(b"a"), [false; 4]);
    }
}
