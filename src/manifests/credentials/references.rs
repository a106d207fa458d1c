//! Values that are no secret although their name says so: references, switches, methods, and files that have the secret.

use std::sync::LazyLock;

use regex::Regex;

use super::names::{is_method, may_be_file, stands_in};

/// Where a value stands: what a reference looks like there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a variable or an annotation: the kubelet and programs replace `$(NAME)` and `${NAME}`, and nothing else.
    Variable,
    /// A word of a command without a shell.
    Word,
    /// A shell's: whatever begins with `$`.
    Script,
    /// A file of a ConfigMap, which may be a script or not.
    File,
}

/// What the kubelet replaces, and what programs replace by themselves.
static OF_VARIABLES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$\([A-Za-z_][\w.-]*\)|\$\{[A-Za-z_][\w.-]*\}").expect("a pattern"));
/// The same, and the names that are usual for variables. `$ecret` is a password.
static OF_WORDS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$\([^)]*\)?|\$\{[^}]*\}?|\$[A-Z_][A-Z0-9_]*|\$[0-9@*]").expect("a pattern"));
/// A file below a folder in which nobody's password begins.
static PATH: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^/(?:etc|run|var|usr|opt|home|mnt|srv|tmp|dev|proc|root|data|app|bitnami|secrets?|vault|tls|certs?|config|conf|keys|ssl|pki|pgdata|docker-entrypoint-initdb\.d)(?:/[\w.@+-]+)+/?$",
    )
    .expect("a pattern")
});
/// A file with the end of one that holds keys.
static KEY_FILE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[\w./@-]+\.(?:key|pem|crt|cer|jks|p12|pfx|json|ya?ml|txt|conf|cnf|keytab|pub)$").expect("a pattern")
});

/// Values that say only whether.
const SWITCHES: &str = "0 1 yes no true false on off enabled disabled none null nil ~";
/// Values of `auth` and `authorization` that name a method.
const METHODS: &str = "trust reject md5 scram-sha-256 scram-sha-1 peer ident password cert gss sspi ldap radius pam bsd \
    basic bearer any mandatory simple native plain login cram-md5 oauth2 oidc saml kerberos x509 rbac jwt \
    required optional";
/// Names of a secret in another store, which somebody else looks up.
const ELSEWHERE: &[&str] = &["vault:", ">>vault:", "op://", "ref+", "awssm://", "gcpsm://", "env:", "fd:"];

/// Whether it is replaced before anybody uses it.
pub(super) fn is_reference(value: &str, place: Place) -> bool {
    let value = value.trim().trim_matches(['"', '\'']);
    // Templates of Vault's agent, confd and Helm.
    if value.starts_with("{{") || ELSEWHERE.iter().any(|store| value.starts_with(store)) {
        return true;
    }
    let replaced = match place {
        Place::Script => return value.starts_with(['$', '`']),
        Place::Variable => OF_VARIABLES.replace_all(value, ""),
        Place::File if value.starts_with('`') => return true,
        Place::Word | Place::File => OF_WORDS.replace_all(value, ""),
    };
    // `pre$(NAME)` says a part of the secret.
    replaced != value && !replaced.contains(|c: char| c.is_alphanumeric())
}

/// Whether the value of something that is called like a secret cannot be one.
pub(super) fn is_harmless(name: &str, value: &str, place: Place) -> bool {
    let value = value.trim().trim_matches(['"', '\'']).trim();
    let low = value.to_ascii_lowercase();
    value.is_empty()
        || stands_in(SWITCHES, &low)
        || (is_method(name) && stands_in(METHODS, &low))
        || is_reference(value, place)
        || is_file(name, value)
}

fn is_file(name: &str, value: &str) -> bool {
    let low = value.to_ascii_lowercase();
    let path = if low.starts_with("file:") { value[5..].trim_start_matches("//") } else { value };
    // PWD is the shell's own.
    PATH.is_match(path)
        || (name == "PWD" && path.starts_with('/'))
        || (may_be_file(name) && KEY_FILE.is_match(path))
        || (low.starts_with("file:") && KEY_FILE.is_match(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_replaced_is_a_reference() {
        use Place::{File, Script, Variable, Word};
        for (value, yes, no) in [
            ("$(DB_PASSWORD)", &[Variable, Word, Script, File][..], &[][..]),
            ("${DB_PASSWORD}", &[Variable, Word, Script, File], &[]),
            ("\"$PASSWORD\"", &[Word, Script, File], &[Variable]),
            ("$ecret", &[Script], &[Variable, Word, File]),
            ("$(cat /run/secrets/pw)", &[Word, Script, File], &[Variable]),
            ("`cat /run/secrets/pw`", &[Script, File], &[Variable, Word]),
            ("pre$(NAME)", &[], &[Variable, Word, Script, File]),
            ("{{ .Data.password }}", &[Variable, Word, Script, File], &[]),
            ("hunter2", &[], &[Variable, Word, Script, File]),
        ] {
            for place in yes {
                assert!(is_reference(value, *place), "{value} {place:?}");
            }
            for place in no {
                assert!(!is_reference(value, *place), "{value} {place:?}");
            }
        }
    }

    #[test]
    fn a_secret_may_begin_like_a_path() {
        let secret = |name: &str, value: &str| !is_harmless(name, value, Place::Variable);
        // One AWS key of 64 begins so.
        assert!(secret("AWS_SECRET_ACCESS_KEY", "/wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"));
        assert!(secret("POSTGRES_PASSWORD", "/hunter2"));
        assert!(!secret("GOOGLE_APPLICATION_CREDENTIALS", "/var/secrets/google/key.json"));
        assert!(!secret("TLS_KEY", "/etc/tls/tls.key"));
        assert!(!secret("ssl-key", "server-key.pem"));
        assert!(!secret("filekey", "FILE:/etc/mysql/encryption/keyfile.key"));
    }
}
