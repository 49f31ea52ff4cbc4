//! The address of a server: an origin, and nothing beside it.
//!
//! *Invariant:* the text of a [`ServerUrl`] is the origin that DPoP proofs name (RFC 9449, section
//! 4.3), so it is normalised once, here: lower case, no default port, no path, no user.

use std::{fmt, net::IpAddr, str::FromStr};

use http::Uri;

use crate::config::InvalidSetting;

/// A text that is no address of a server. Displays as a sentence that can follow the setting's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServerUrl {
    /// Not a URL at all.
    #[error("is not a URL: write it as https://fleet.example.com or http://localhost:8080")]
    Malformed,
    /// Neither http nor https.
    #[error("must begin with https:// or http://")]
    Scheme,
    /// A user name or password.
    #[error("must not hold a user name or password")]
    User,
    /// A path or query.
    #[error("must end after host and port: the agent adds the paths itself")]
    Path,
}

/// An origin: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    origin: String,
    uri: Uri,
}

impl ServerUrl {
    /// The origin, as proofs name it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The origin as a URI.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether the way is encrypted.
    pub fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Whether the way never leaves this host.
    pub fn is_loopback(&self) -> bool {
        let host = self.uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Refuses plain http to another host unless that was allowed.
    pub fn require_safe(&self, allow_insecure: bool) -> Result<(), InvalidSetting> {
        if self.is_tls() || self.is_loopback() || allow_insecure {
            Ok(())
        } else {
            Err(InvalidSetting::InsecureTransport)
        }
    }
}

impl FromStr for ServerUrl {
    type Err = InvalidServerUrl;

    fn from_str(text: &str) -> Result<Self, InvalidServerUrl> {
        let uri: Uri = text.trim().parse().map_err(|_| InvalidServerUrl::Malformed)?;
        let scheme = uri.scheme_str().ok_or(InvalidServerUrl::Scheme)?;
        let default_port = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return Err(InvalidServerUrl::Scheme),
        };
        let authority = uri.authority().ok_or(InvalidServerUrl::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(InvalidServerUrl::User);
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(InvalidServerUrl::Path);
        }
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() || (authority.port().is_some() && authority.port_u16().is_none()) {
            return Err(InvalidServerUrl::Malformed);
        }
        let origin = match authority.port_u16() {
            Some(port) if port != default_port => format!("{scheme}://{host}:{port}"),
            Some(_) | None => format!("{scheme}://{host}"),
        };
        let uri = origin.parse().map_err(|_| InvalidServerUrl::Malformed)?;
        Ok(Self { origin, uri })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Result<String, InvalidServerUrl> {
        text.parse::<ServerUrl>().map(|url| url.to_string())
    }

    #[test]
    fn one_origin_has_one_text() {
        assert_eq!(origin("HTTPS://Fleet.Example:443/"), Ok("https://fleet.example".into()));
        assert_eq!(origin("http://localhost:8080"), Ok("http://localhost:8080".into()));
        assert_eq!(origin("http://[::1]:80"), Ok("http://[::1]".into()));
    }

    #[test]
    fn what_is_no_origin_says_why() {
        assert_eq!(origin("fleet.example"), Err(InvalidServerUrl::Scheme));
        assert_eq!(origin("ftp://x"), Err(InvalidServerUrl::Scheme));
        assert_eq!(origin("https://a:b@x"), Err(InvalidServerUrl::User));
        assert_eq!(origin("https://x/argosy"), Err(InvalidServerUrl::Path));
        assert_eq!(origin("https://x?y"), Err(InvalidServerUrl::Path));
        assert_eq!(origin("not a url"), Err(InvalidServerUrl::Malformed));
    }

    #[test]
    fn loopback_is_known_by_name_and_by_address() {
        let loopback = |text: &str| text.parse::<ServerUrl>().unwrap().is_loopback();
        for here in ["http://localhost", "http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:9"]
        {
            assert!(loopback(here), "{here}");
        }
        for elsewhere in ["http://localhost.example", "http://10.0.0.1", "http://127.0.0.1.example"]
        {
            assert!(!loopback(elsewhere), "{elsewhere}");
        }
    }
}
