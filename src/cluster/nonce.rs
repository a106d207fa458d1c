//! A name that no other process uses, by which a process recognises its own writes after a lost answer.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Sixteen hexadecimal digits. The standard library seeds its hasher from the operating system's randomness.
pub(crate) fn nonce() -> String {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.write_i128(jiff::Timestamp::now().as_nanosecond());
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_differ() {
        assert_ne!(super::nonce(), super::nonce());
    }
}
