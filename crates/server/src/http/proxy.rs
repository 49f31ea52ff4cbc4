//! The address of the client behind trusted proxies.
//!
//! *Invariant:* a header is believed only as far as trusted proxies wrote it: from the right, up to
//! the first address that is none of theirs. Anybody can write the rest.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

fn trusts(proxies: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    proxies.iter().any(|proxies| proxies.contains(&address))
}

/// An address as headers write it: with or without brackets, quotes and port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let plain = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    plain().or_else(with_port).or_else(bracketed)
}

/// The elements of `X-Forwarded-For`, the nearest last.
fn forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all("x-forwarded-for").iter();
    let lines = lines.map(|line| line.to_str().unwrap_or("unreadable"));
    lines.flat_map(|line| line.split(',')).map(address).collect()
}

/// The `for` of each element of `Forwarded` (RFC 7239), the nearest last.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all("forwarded").iter();
    let lines = lines.map(|line| line.to_str().unwrap_or("unreadable"));
    let client = |element: &str| {
        let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
        let mut named = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for"));
        named.next().and_then(|(_, value)| address(value))
    };
    lines.flat_map(|line| line.split(',')).map(client).collect()
}

/// The right-most address that is no trusted proxy's; the peer's own where there is none, or where
/// the chain breaks off in something that is no address.
fn client_of(chain: &[Option<IpAddr>], peer: IpAddr, proxies: &[IpNet]) -> IpAddr {
    let mut nearest = peer;
    for hop in chain.iter().rev() {
        let Some(hop) = hop else { return nearest };
        nearest = *hop;
        if !trusts(proxies, nearest) {
            return nearest;
        }
    }
    nearest
}

/// The client's address: the peer's, or what trusted proxies say. Where the two headers disagree
/// one of them was not written by the proxy, and nobody is believed.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    if !trusts(proxies, peer) {
        return peer;
    }
    let chains = [forwarded_for(headers), forwarded(headers)];
    let mut said = chains.iter().filter(|chain| !chain.is_empty());
    match (said.next(), said.next()) {
        (None, _) => peer,
        (Some(chain), None) => client_of(chain, peer, proxies),
        (Some(one), Some(two)) => {
            let (one, two) = (client_of(one, peer, proxies), client_of(two, peer, proxies));
            if one == two { one } else { peer }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn seen(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let proxies = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        client(peer.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let xff = "x-forwarded-for";
        assert_eq!(seen("192.0.2.1", &[(xff, "203.0.113.9")]), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &[(xff, "203.0.113.9")]), "203.0.113.9");
        assert_eq!(seen("::ffff:10.0.0.1", &[(xff, "203.0.113.9")]), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &[(xff, "1.2.3.4, 203.0.113.9, 10.0.0.7")]), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &[(xff, "1.2.3.4"), (xff, "203.0.113.9:4711")]), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &[(xff, "1.2.3.4, nonsense, 10.0.0.7")]), "10.0.0.7");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_and_must_not_disagree() {
        let (xff, fwd) = ("x-forwarded-for", "forwarded");
        let line = "for=1.2.3.4, For=\"[2001:db8::7]:4711\";proto=https";
        assert_eq!(seen("fd00::1", &[(fwd, line)]), "2001:db8::7");
        assert_eq!(seen("10.0.0.1", &[(fwd, "for=203.0.113.9;by=10.0.0.1")]), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &[(fwd, "for=_hidden")]), "10.0.0.1");
        let both = |a, b| seen("10.0.0.1", &[(xff, a), (fwd, b)]);
        assert_eq!(both("203.0.113.9", "for=203.0.113.9"), "203.0.113.9");
        assert_eq!(both("203.0.113.9", "for=1.2.3.4"), "10.0.0.1");
    }
}
