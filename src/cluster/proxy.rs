//! Whether the API server is reached through a proxy, by the rules that kubectl follows.
//!
//! kube 5.0.0 compares NO_PROXY with the proxy's own address and refuses a list with a trailing comma, so the
//! decision is made here and handed to it.

use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

/// The schemes that kube supports; client-go accepts the same in `proxy-url`.
const SCHEMES: [&str; 3] = ["http", "https", "socks5"];

/// Looks up one environment variable; a parameter so that tests need not change the process's own.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The proxy for `server`: the kubeconfig's `proxy-url` always, else the environment's unless NO_PROXY names the server.
pub(crate) fn decide(server: &Uri, of_cluster: Option<&str>, env: Env) -> Result<Option<Uri>, String> {
    if let Some(url) = of_cluster.filter(|u| !u.is_empty()) {
        return parse(url).map(Some);
    }
    let first = |names: [&str; 2]| names.into_iter().find_map(|n| env(n).filter(|v| !v.is_empty()));
    let url = match server.scheme_str() {
        Some("http") => first(["HTTP_PROXY", "http_proxy"]),
        _ => first(["HTTPS_PROXY", "https_proxy"]),
    };
    let Some(url) = url else { return Ok(None) };
    let list = first(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    if bypassed(server, &list) {
        return Ok(None);
    }
    parse(&url).map(Some)
}

fn parse(url: &str) -> Result<Uri, String> {
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    // The URL may hold a password, so no message quotes it. kube's own message about an unknown scheme would.
    let uri = with_scheme.parse::<Uri>().map_err(|e| format!("the proxy's URL is not valid: {e}"))?;
    match uri.scheme_str() {
        Some(scheme) if SCHEMES.contains(&scheme) => Ok(uri),
        _ => Err(format!("the proxy's URL has an unsupported scheme, supported are {}", SCHEMES.join(", "))),
    }
}

/// Whether this server is spoken to directly.
fn bypassed(server: &Uri, list: &str) -> bool {
    let host = server.host().unwrap_or_default().to_ascii_lowercase();
    let port = server.port_u16().unwrap_or(match server.scheme_str() {
        Some("http") => 80,
        _ => 443,
    });
    let bare = host.trim_matches(['[', ']']);
    // Like Go's net/http: what is on this machine never goes through a proxy.
    if host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
        return true;
    }
    list.split(',').filter_map(|entry| applicable(entry.trim(), port)).any(|entry| {
        match entry.strip_prefix("*.").or(entry.strip_prefix('.')) {
            Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
            None => named(&host, &entry),
        }
    })
}

/// The entry without its port, or nothing when it is empty or is about another port.
fn applicable(entry: &str, port: u16) -> Option<String> {
    let entry = entry.to_ascii_lowercase();
    if entry.parse::<IpAddr>().is_ok() {
        return Some(entry);
    }
    match entry.rsplit_once(':') {
        Some((name, digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            (digits.parse() == Ok(port)).then(|| name.trim_matches(['[', ']']).to_owned())
        }
        _ => Some(entry).filter(|e| !e.is_empty()),
    }
}

/// Whether `*`, an address, a range or a domain names this host.
fn named(host: &str, entry: &str) -> bool {
    // The matcher takes `*` for names only.
    if entry == "*" {
        return true;
    }
    let matcher = Matcher::builder().http("http://proxy.invalid").no(entry).build();
    Uri::try_from(format!("http://{host}/")).is_ok_and(|uri| matcher.intercept(&uri).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(server: &str, vars: &[(&str, &str)]) -> Option<String> {
        let env = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        decide(&server.parse().unwrap(), None, &env).unwrap().map(|u| u.to_string())
    }

    #[test]
    fn no_proxy_is_about_the_server() {
        let server = "https://10.1.2.3:6443";
        let name = "https://api.k8s.example.com";
        for (server, list, direct) in [
            (server, "", false),
            (server, "10.1.2.3", true),
            (server, "10.1.2.3:6443", true),
            (server, "10.1.2.3:443", false),
            (server, "10.0.0.0/8", true),
            (server, "192.168.0.0/16, 10.0.0.0/8", true),
            (server, "proxy.corp", false),
            (server, "proxy.corp:3128", false),
            (server, "*", true),
            (server, "localhost,", false),
            (name, "localhost,", false),
            (name, "example.com", true),
            (name, ".example.com", true),
            (name, "*.k8s.example.com", true),
            (name, "API.K8S.EXAMPLE.COM", true),
            (name, "api.k8s.example.com:443", true),
            (name, "api.k8s.example.com:6443", false),
            (name, "ple.com", false),
            ("https://example.com", ".example.com", false),
            ("https://example.com", "example.com", true),
            ("https://[fd00::1]:6443", "fd00::1", true),
            ("https://[fd00::1]:6443", "[fd00::1]:6443", true),
            ("https://[fd00::1]:6443", "fd00::/8", true),
            ("https://[fd00::1]:6443", "fd01::/16", false),
            ("https://127.0.0.1:6443", "", true),
            ("https://[::1]:6443", "", true),
            ("https://localhost:6443", "", true),
        ] {
            let vars = [("HTTPS_PROXY", "http://proxy.corp:3128"), ("NO_PROXY", list)];
            assert_eq!(decided(server, &vars).is_none(), direct, "{server} NO_PROXY={list}");
        }
    }

    #[test]
    fn the_variable_follows_the_scheme() {
        let server = "https://10.1.2.3";
        assert_eq!(decided(server, &[("http_proxy", "p:1")]), None);
        assert_eq!(decided(server, &[("https_proxy", "p:1")]).as_deref(), Some("http://p:1/"));
        assert_eq!(decided("http://10.1.2.3", &[("http_proxy", "p:1")]).as_deref(), Some("http://p:1/"));
        assert_eq!(
            decided(server, &[("HTTPS_PROXY", ""), ("https_proxy", "socks5://p:1")]).as_deref(),
            Some("socks5://p:1/")
        );
    }

    #[test]
    fn no_error_quotes_the_proxys_password() {
        let server = "https://10.1.2.3".parse().unwrap();
        for scheme in ["socks5h", "socks4", "socks4a", "socks", "ftp"] {
            let url = format!("{scheme}://user:secret@proxy:1080");
            let of_env = decide(&server, None, &|name| (name == "HTTPS_PROXY").then(|| url.clone()));
            for decided in [of_env, decide(&server, Some(&url), &|_| None)] {
                let error = decided.unwrap_err();
                assert!(error.contains("unsupported scheme") && !error.contains("secret"), "{error}");
            }
        }
        let decided = decide(&server, Some("socks5://user:secret@proxy:1080"), &|_| None);
        assert!(decided.unwrap().is_some());
    }

    #[test]
    fn the_kubeconfigs_own_proxy_is_not_subject_to_no_proxy() {
        let env = |name: &str| (name == "NO_PROXY").then(|| "*".to_owned());
        let server = "https://10.1.2.3".parse().unwrap();
        assert!(decide(&server, Some("http://p:1"), &env).unwrap().is_some());
        assert!(decide(&server, Some("http://user:secret@[broken"), &env).is_err_and(|e| !e.contains("secret")));
    }
}
