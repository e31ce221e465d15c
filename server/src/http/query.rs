//! Query strings.

/// The values of a key, in order, decoded.
pub fn values(query: Option<&str>, key: &str) -> Vec<String> {
    pairs(query)
        .filter(|(name, _)| name == key)
        .map(|(_, value)| value)
        .collect()
}

/// Whether a key stands there, with or without a value.
pub fn has(query: Option<&str>, key: &str) -> bool {
    pairs(query).any(|(name, _)| name == key)
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (String, String)> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten();
        let escaped =
            escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (escaped, first) {
            (Some(byte), _) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (None, b'+') => bytes.push(b' '),
            (None, byte) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_may_repeat_and_stand_alone() {
        let query = Some("exclude=a&verbose&exclude=b%20c&exclude=%zz");
        assert_eq!(values(query, "exclude"), ["a", "b c", "%zz"]);
        assert!(has(query, "verbose") && !has(query, "a") && !has(None, "a"));
    }
}
