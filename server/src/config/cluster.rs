//! `--initial-cluster`: who founds the cluster.

use super::{urls::Url, values::Format};

/// One `name=url` of the list; a member with several URLs stands there as often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founder {
    /// The member's name.
    pub name: String,
    /// One of its peer URLs.
    pub url: Url,
}

/// `name=url,name=url`.
pub struct Cluster;

impl Format for Cluster {
    type Value = Vec<Founder>;
    const PLACEHOLDER: &'static str = "name=url,…";

    fn parse(text: &str) -> Result<Vec<Founder>, String> {
        let mut founders = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (name, url) = part.split_once('=').unwrap_or((part, ""));
            if url.is_empty() {
                return Err(format!("empty URL given for {name:?}"));
            }
            founders.push(Founder {
                name: name.to_owned(),
                url: Url::parse(url)?,
            });
        }
        Ok(founders)
    }
}

/// The peer URLs of one member, sorted as its ID wants them.
pub fn urls_of(founders: &[Founder], name: &str) -> Vec<Url> {
    let mut urls: Vec<Url> = founders
        .iter()
        .filter(|founder| founder.name == name)
        .map(|founder| founder.url.clone())
        .collect();
    urls.sort_by_key(Url::to_string);
    urls
}

/// The names, each once, sorted.
pub fn names(founders: &[Founder]) -> Vec<&str> {
    let mut names: Vec<&str> = founders
        .iter()
        .map(|founder| founder.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_may_stand_twice() {
        let founders =
            Cluster::parse("a=http://10.0.0.1:2380,b=http://10.0.0.2:1,a=http://10.0.0.1:1")
                .unwrap();
        assert_eq!(names(&founders), ["a", "b"]);
        let urls: Vec<String> = urls_of(&founders, "a").iter().map(Url::to_string).collect();
        assert_eq!(urls, ["http://10.0.0.1:1", "http://10.0.0.1:2380"]);
    }

    #[test]
    fn an_empty_url_is_refused() {
        assert_eq!(
            Cluster::parse("a="),
            Err("empty URL given for \"a\"".to_owned())
        );
        assert_eq!(
            Cluster::parse("http://x:1"),
            Err("empty URL given for \"http://x:1\"".to_owned())
        );
    }
}
