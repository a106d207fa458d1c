//! Names of objects that are made from other objects' names.

/// FNV-1a: a short, stable tail for names that had to be cut. It never changes: two versions of this program would
/// not see each other's Leases, or would not find their own snapshots.
pub fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether this can be the id of a run: lower-case letters, digits and dashes, at most 40.
pub fn is_run(text: &str) -> bool {
    text.len() <= 40 && is_word(text)
}

/// Whether this can be the name of a Kubernetes object: a DNS subdomain (RFC 1123).
pub fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_word)
}

/// Whether this can be the name of a namespace or a container: a DNS label (RFC 1123).
pub fn is_namespace(text: &str) -> bool {
    text.len() <= 63 && is_word(text)
}

fn is_word(text: &str) -> bool {
    let inner = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_api_server_takes() {
        for name in ["a", "pg-0", "pvc-0a6c", "csi.example.com", "0"] {
            assert!(is_name(name), "{name}");
        }
        for none in ["", ".", "a..b", "-a", "a-", "A", "a/b", "a b", "a\n", "../x", "a?x=y", "é"] {
            assert!(!is_name(none) && !is_namespace(none) && !is_run(none), "{none}");
        }
        assert!(!is_namespace("a.b") && !is_run("a.b"));
        assert!(is_run("20261121-123529-b676") && !is_run(&"r".repeat(41)));
        assert!(!is_namespace(&"n".repeat(64)) && is_name(&"n".repeat(253)) && !is_name(&"n".repeat(254)));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv("foobar"), 0x8594_4171_f739_67e8);
    }
}
