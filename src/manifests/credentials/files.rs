//! Secrets in ConfigMaps: of keys that become variables, and in files of every kind.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use regex::Regex;
use serde_json::Value;

use super::names::is_secret;
use super::references::{Place, is_harmless};
use super::{commands, values};

/// `requirepass x`, `user app on >x`, `sentinel auth-pass main x`, `stats auth user:x`: files whose settings have no sign
/// between name and value.
static DIRECTIVE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)^(requirepass|masterauth|tls-key-file-pass|tls-client-key-file-pass|stats\s+auth|user\s+\S+\s+(?:insecure-)?password|user\s+\S+\s.*?>|sentinel\s+auth-pass\s+\S+)\s*(\S+)",
    )
    .expect("a pattern")
});
/// A line of pgbouncer's and pgpool's lists of users, of `.pgpass`, of `chpasswd`'s shadow.
static USER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^"[^"]+"\s+"([^"]+)"|^[^\s:#]+:(?:\d+|\*):[^:\s]*:[^:\s]+:(\S+)$"#).expect("a pattern")
});
/// Ends of files that are keys, whatever stands in them.
const KEYS: &[&str] = &[".jks", ".p12", ".pfx", ".keytab", ".ppk", ".kdbx"];

/// What looks like a secret in a ConfigMap, by its key.
pub(in crate::manifests) fn of_config_map(map: &Value) -> Vec<String> {
    let texts = map["data"].as_object().into_iter().flatten();
    let texts = texts.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?.to_owned())));
    let binary = map["binaryData"].as_object().into_iter().flatten();
    let binary = binary.filter_map(|(key, value)| {
        // Binary data cannot be scanned: only its key is judged.
        let bytes = BASE64_STANDARD.decode(value.as_str()?).unwrap_or_default();
        Some((key.as_str(), String::from_utf8(bytes).unwrap_or_default()))
    });
    let all = texts.chain(binary);
    all.filter_map(|(key, text)| Some(format!("{} in {key}", of_file(key, &text)?))).collect()
}

fn of_file(name: &str, text: &str) -> Option<String> {
    if KEYS.iter().any(|end| name.ends_with(end)) {
        return Some("a key".into());
    }
    // A key with one line is a variable.
    if !text.trim().contains('\n') && is_secret(name) && !is_harmless(name, text, Place::File) {
        return Some(name.to_owned());
    }
    if name.rsplit('.').next() == Some("sh") || text.starts_with("#!") {
        return commands::in_script(text);
    }
    // Examples: whole files of defaults are shipped with every setting in a comment.
    let lines =
        text.lines().map(str::trim).filter(|line| !["#", ";", "//", "-- "].iter().any(|sign| line.starts_with(sign)));
    let lines: Vec<&str> = lines.collect();
    let found = lines.iter().find_map(|line| {
        let directive = DIRECTIVE.captures(line).filter(|found| !is_harmless("", &found[2], Place::File));
        let name = directive.map(|found| found[1].split_whitespace().next().unwrap_or_default().to_owned());
        let user = || {
            USER.captures(line).is_some_and(|found| {
                found.iter().skip(1).flatten().any(|value| !is_harmless("", value.as_str(), Place::File))
            })
        };
        name.or_else(|| user().then(|| "a user's password".to_owned()))
    });
    found.or_else(|| values::find(&lines.join("\n"), Place::File))
}
