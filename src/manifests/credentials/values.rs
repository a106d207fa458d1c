//! Secrets inside of a value: addresses with a password, settings of a connection, headers, SQL, keys and tokens.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use regex::Regex;

use super::names::is_secret;
use super::references::{Place, is_harmless, is_reference};

/// A pattern of this file.
macro_rules! pattern {
    ($name:ident, $text:literal) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("a pattern"));
    };
}

pattern!(PRIVATE_KEY, r"-----BEGIN [A-Z ]*PRIVATE KEY|AGE-SECRET-KEY-1");
// Tokens that say what they are, and hashes of passwords, which can be guessed at leisure.
pattern!(
    TOKEN,
    r"\b(?:gh[opsur]_|github_pat_|glpat-|xox[abprs]-|[sr]k_live_|hvs\.|npm_|AIza)[A-Za-z0-9_-]{10,}|\beyJ[\w-]{5,}\.eyJ[\w-]{5,}"
);
pattern!(
    HASH,
    r"\$2[abxy]\$\d\d\$[\w./]{20,}|\$(?:apr1|[156])\$(?:rounds=\d+\$)?[\w./]{1,16}\$[\w./]{20,}|\$argon2\w*\$v=|SCRAM-SHA-(?:1|256)\$\d+:|\bmd5[0-9a-f]{32}\b|\{S?SHA\d*\}[\w+/=]{10,}"
);
pattern!(AUTHORIZATION, r#"(?i)authorization["']?\s*[:=]\s*["']?\s*(?:(?:bearer|basic|token|apikey)\s+)?([^\s"']+)"#);
pattern!(BEARER, r#"\bBearer\s+([^\s"']{4,})"#);
pattern!(BASIC, r"\bBasic\s+([A-Za-z0-9+/]{4,}={0,2})");
// `user:password@tcp(host)`, `user:password@(host)`: Go's MySQL driver.
pattern!(OF_GO, r#"[^\s:@/"'=]+:([^\s"']+)@(?:[a-z0-9-]+)?\("#);
// `user:password@host:5432/db`, without a scheme.
pattern!(
    BARE,
    r#"(?:^|[\s"'=,(])([A-Za-z0-9._-]+):([^\s@"']+)@((?:[A-Za-z0-9-]+\.)*[A-Za-z0-9-]+)(?::\d+)?(?:[/?\s"',)]|$)"#
);
pattern!(OF_ORACLE, r"(?i)jdbc:oracle:\w+:[^/@\s]+/([^@\s]+)@");
pattern!(
    SETTING,
    r#"([A-Za-z_][\w.-]*)(["']?)([ \t]*=[ \t]*|[ \t]*:[ \t]*)("[^"]*"|'[^']*'|(?:\$\([^)]*\)|\$\{[^}]*\}|\{\{[^}]*\}\}|[^\s;&,)}\]|"'])*)"#
);
pattern!(DEFAULT, r"\$\{([A-Za-z_]\w*):?[-=]([^}]*)\}");
pattern!(ELEMENT, r"<([A-Za-z_][\w.-]*)[^<>]*>([^<>]+)</");
pattern!(IDENTIFIED, r#"(?i)\bidentified\s+(?:with\s+\S+\s+)?(?:by|as)\s+(?:password\s+)?("[^"]*"|'[^']*'|[^\s;]+)"#);
pattern!(SQL_PASSWORD, r#"(?i)\bpassword(?:\s+|\s*\(\s*)N?("[^"]*"|'[^']*')"#);
pattern!(
    WEBHOOK,
    r"(?i)hooks\.slack\.com/(?:services|workflows)/\w|discord(?:app)?\.com/api/webhooks/\d|webhook\.office(?:365)?\.com/|outlook\.office(?:365)?\.com/webhook/|api\.telegram\.org/bot\d"
);

/// Schemes of addresses that look like `user:password@host` and have no password.
const OTHER_SCHEMES: &[&str] = &["mailto", "acct", "sip", "sips", "xmpp", "im", "arn", "urn", "tag", "jdbc"];
/// What an address with a password is called where it has no name.
pub(super) const ADDRESS: &str = "an address with a password";

/// A secret that stands in this text, by what it is called there.
pub(super) fn find(text: &str, place: Place) -> Option<String> {
    // JSON inside of JSON.
    let text = &text.replace("\\\"", "\"").replace("\\'", "'");
    let secret = |value: &str| !is_harmless("", value, place);
    let of = |pattern: &Regex| {
        pattern.captures_iter(text).any(|found| found.iter().skip(1).flatten().all(|v| secret(v.as_str())))
    };
    if PRIVATE_KEY.is_match(text) {
        return Some("a private key".into());
    }
    if TOKEN.is_match(text) || of(&BEARER) || BASIC.captures_iter(text).any(|found| is_basic(&found[1])) {
        return Some("a token".into());
    }
    if HASH.is_match(text) {
        return Some("the hash of a password".into());
    }
    if AUTHORIZATION.captures_iter(text).any(|found| !is_harmless("authorization", &found[1], place)) {
        return Some("Authorization".into());
    }
    if has_userinfo(text, place) || of(&OF_GO) || of(&OF_ORACLE) || has_bare_userinfo(text, place) {
        return Some(ADDRESS.into());
    }
    if WEBHOOK.is_match(text) {
        return Some("the address of a webhook".into());
    }
    let random = |found: &regex::Captures| found[1].eq_ignore_ascii_case("random");
    if IDENTIFIED.captures_iter(text).any(|found| !random(&found) && secret(&found[1])) || of(&SQL_PASSWORD) {
        return Some("the password of a statement".into());
    }
    setting(text, place).or_else(|| named(text, place))
}

/// `user:password`, as a header has it.
fn is_basic(text: &str) -> bool {
    BASE64_STANDARD.decode(text).is_ok_and(|decoded| decoded.contains(&b':'))
}

/// `scheme://user:password@host`, also with `/`, `?` and `@` in the password, and `https://token@host`.
fn has_userinfo(text: &str, place: Place) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let scheme = text[..at].rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let rest = text[at + 3..].split(|c: char| c.is_whitespace() || "\"'<>`".contains(c)).next().unwrap_or_default();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let of_authority = authority.rsplit_once('@').map(|(userinfo, _)| userinfo);
        // Without an @ before the first slash it is a path, unless what stands for the port can be none.
        let longer = || {
            let (_, port) = authority.split_once(':').filter(|_| !authority.starts_with('['))?;
            let is_port = port.is_empty() || port.starts_with('$') || port.chars().all(|c| c.is_ascii_digit());
            rest.rsplit_once('@').map(|(userinfo, _)| userinfo).filter(|_| !is_port)
        };
        let Some(userinfo) = of_authority.or_else(longer) else { return false };
        match userinfo.split_once(':') {
            Some((_, password)) => !password.is_empty() && !is_reference(password, place),
            // Whoever clones by HTTP has a token for a user.
            None => scheme.starts_with("http") && !matches!(userinfo, "" | "git") && !is_reference(userinfo, place),
        }
    })
}

fn has_bare_userinfo(text: &str, place: Place) -> bool {
    BARE.captures_iter(text).any(|found| {
        let (user, password, host) = (&found[1], &found[2], &found[3]);
        let of_image = host.starts_with("sha") && host[3..].chars().all(|c| c.is_ascii_digit());
        let of_port = host.chars().all(|c| c.is_ascii_digit());
        let other = password.contains("//") || OTHER_SCHEMES.contains(&user) || of_image || of_port;
        !other && !is_reference(password, place)
    })
}

/// `password=x`, `"password": "x"`, `AccountKey=x;`, `?sig=x`, `-DkeyStorePassword=x`.
fn setting(text: &str, place: Place) -> Option<String> {
    let mut from = 0;
    while let Some(found) = SETTING.captures_at(text, from) {
        let (whole, between) = (found.get(0)?, found.get(3)?);
        // Again from behind the sign: `--env=PASSWORD=x` has two.
        from = between.end();
        let (name, quote, value) = (&found[1], &found[2], &found[4]);
        let before = &text[..whole.start()];
        let colon = between.as_str().contains(':');
        // `user:password` has neither a quote nor a blank.
        let is_pair = !colon || !quote.is_empty() || between.as_str().ends_with([' ', '\t']);
        // `[ "$PASSWORD" = x ]`, `password == x`.
        let compared = ["$", "${", "${#", "${!"].iter().any(|sign| before.ends_with(sign)) || value.starts_with('=');
        let in_query = before.ends_with(['?', '&']);
        let of_query = in_query && ["sig", "signature", "key", "code"].contains(&name.to_ascii_lowercase().as_str());
        // A field that says which one is meant: `secretKeyRef: {key: password}`, `--selector key=value`.
        let plain_key = name.eq_ignore_ascii_case("key") && !in_query && !before.ends_with('-');
        let of_name = is_secret(name) && !plain_key;
        let opens = value.starts_with(['{', '[', '|', '>']) && colon;
        let named = of_name || of_query || name.eq_ignore_ascii_case("sig");
        if is_pair && !compared && !opens && named && !is_harmless(name, value, place) {
            let dashes = before.len() - before.trim_end_matches('-').len();
            return Some(format!("{}{name}", "-".repeat(dashes)));
        }
    }
    None
}

/// `${PASSWORD:-x}` and `<password>x</password>`.
fn named(text: &str, place: Place) -> Option<String> {
    [&DEFAULT, &ELEMENT].into_iter().find_map(|pattern| {
        let mut all = pattern.captures_iter(text);
        let found = all.find(|found| is_secret(&found[1]) && !is_harmless(&found[1], &found[2], place))?;
        Some(found[1].to_owned())
    })
}
