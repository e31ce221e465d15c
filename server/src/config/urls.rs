//! URLs as flags spell them: `http://127.0.0.1:2379`, `https://…`,
//! `unix:///run/etcd.sock`.

use std::{fmt, net::IpAddr};

/// How a URL is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS over TCP.
    Https,
    /// Plain, over a socket file.
    Unix,
    /// TLS over a socket file.
    Unixs,
}

impl Scheme {
    fn text(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Unix => "unix",
            Self::Unixs => "unixs",
        }
    }

    /// Whether the bytes on it are encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Unixs)
    }
}

/// One URL of a listen or advertise flag. Printed exactly as it was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    /// How it is spoken.
    pub scheme: Scheme,
    /// `host:port`, or what stands for the socket's path.
    pub authority: String,
    /// What follows the authority: part of the socket's path, else empty.
    pub path: String,
}

impl Url {
    /// Checks one URL by etcd's rules, in etcd's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => {
                return Err(format!(
                    "URL scheme must be http, https, unix, or unixs: {text}"
                ));
            }
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let url = Self {
            scheme,
            authority: authority.to_owned(),
            path: path.to_owned(),
        };
        if matches!(scheme, Scheme::Http | Scheme::Https) {
            match url.split_port() {
                Some((_, port)) if port.parse::<u16>().is_ok() => {}
                _ => {
                    return Err(format!(
                        "URL address does not have the form \"host:port\": {text}"
                    ));
                }
            }
            if !path.is_empty() {
                return Err(format!("URL must not contain a path: {text}"));
            }
        } else if authority.is_empty() && path.is_empty() {
            return Err(format!("URL does not name a socket file: {text}"));
        }
        Ok(url)
    }

    fn split_port(&self) -> Option<(&str, &str)> {
        let (host, port) = self.authority.rsplit_once(':')?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return None;
        }
        Some((bare.unwrap_or(host), port))
    }

    /// The host, without the brackets of an IPv6 address; empty for a socket file.
    pub fn host(&self) -> &str {
        match self.scheme {
            Scheme::Http | Scheme::Https => self.split_port().map_or("", |(host, _)| host),
            Scheme::Unix | Scheme::Unixs => "",
        }
    }

    /// The port; 0 for a socket file.
    pub fn port(&self) -> u16 {
        self.split_port()
            .and_then(|(_, port)| port.parse().ok())
            .unwrap_or(0)
    }

    /// The file of a `unix://` URL: what stands behind the scheme, so that
    /// `unix://localhost:0` makes a file of that name, as etcd does.
    pub fn socket_path(&self) -> String {
        format!("{}{}", self.authority, self.path)
    }

    /// A listener binds to addresses, not to names that DNS may change.
    pub fn is_bindable(&self) -> bool {
        match self.scheme {
            Scheme::Unix | Scheme::Unixs => true,
            Scheme::Http | Scheme::Https => {
                let host = self.host();
                host.is_empty() || host == "localhost" || host.parse::<IpAddr>().is_ok()
            }
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.scheme.text(),
            self.authority,
            self.path
        )
    }
}

/// The texts of several URLs, comma-separated.
pub fn join(urls: &[Url]) -> String {
    urls.iter()
        .map(Url::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("http://127.0.0.1:2379").unwrap();
        assert_eq!((url.host(), url.port()), ("127.0.0.1", 2379));
        let six = Url::parse("https://[::1]:0").unwrap();
        assert_eq!(
            (six.host(), six.port(), six.scheme.is_tls()),
            ("::1", 0, true)
        );
        assert_eq!(
            Url::parse("unix:///run/e.sock").unwrap().socket_path(),
            "/run/e.sock"
        );
        assert_eq!(
            Url::parse("unix://localhost:7").unwrap().socket_path(),
            "localhost:7"
        );
    }

    #[test]
    fn bad_urls_are_refused() {
        for bad in [
            "",
            "127.0.0.1:2379",
            "tcp://a:1",
            "http://a",
            "http://a:x",
            "http://a:1/path",
            "http://::1:2",
            "unix://",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_can_not_be_bound() {
        assert!(!Url::parse("http://example.com:1").unwrap().is_bindable());
        for good in [
            "http://localhost:1",
            "http://0.0.0.0:1",
            "http://[::]:1",
            "unix://x",
        ] {
            assert!(Url::parse(good).unwrap().is_bindable(), "{good}");
        }
    }
}
