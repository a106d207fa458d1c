//! Texts that are large and seldom read, compressed, and cut into parts that an object can take.

use std::io::{Read, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// More than this nobody packed: who can write annotations must not fill our memory.
const MOST: u64 = 64 << 20;

/// As JSON, compressed (gzip), in base64.
pub fn pack(value: &impl Serialize) -> String {
    // Neither writing to memory nor writing a value of ours as JSON can fail.
    let json = serde_json::to_vec(value).unwrap_or_default();
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    let _ = packer.write_all(&json);
    BASE64_STANDARD.encode(packer.finish().unwrap_or_default())
}

/// Reads it again. gzip's checksum says whether it is whole.
pub fn unpack<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let packed = BASE64_STANDARD.decode(text.trim()).map_err(|e| format!("it is no base64: {e}"))?;
    let mut json = Vec::new();
    GzDecoder::new(packed.as_slice()).take(MOST).read_to_end(&mut json).map_err(|e| format!("it is damaged: {e}"))?;
    serde_json::from_slice(&json).map_err(|e| format!("it cannot be read: {e}"))
}

/// Parts of at most so many bytes, in order; at least one.
pub fn parts(text: &str, most: usize) -> Vec<String> {
    // base64 has one byte a character.
    let mut parts: Vec<String> =
        text.as_bytes().chunks(most.max(1)).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    if parts.is_empty() {
        parts.push(String::new());
    }
    parts
}

/// The whole of numbered parts, as number, count and text, in any order; or which one is missing.
pub fn joined(mut parts: Vec<(usize, usize, String)>) -> Result<String, String> {
    parts.sort();
    parts.dedup();
    let count = parts.first().map_or(0, |(_, count, _)| *count);
    for number in 0..count {
        match parts.get(number) {
            Some((n, c, _)) if (*n, *c) == (number, count) => {}
            _ => return Err(format!("part {} of {count} is missing", number + 1)),
        }
    }
    if parts.is_empty() || parts.len() > count {
        return Err("its parts do not fit together".into());
    }
    Ok(parts.into_iter().map(|(_, _, text)| text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_packed_comes_back(value in prop::collection::vec(".{0,40}", 0..20), most in 1_usize..50, turn in any::<usize>()) {
            let text = pack(&value);
            let cut = parts(&text, most);
            prop_assert!(cut.iter().all(|part| part.len() <= most));
            let count = cut.len();
            let mut numbered: Vec<_> = cut.into_iter().enumerate().map(|(n, part)| (n, count, part)).collect();
            numbered.rotate_left(turn % count);
            let lost = numbered[1..].to_vec();
            let whole = joined(numbered).unwrap();
            prop_assert_eq!(&whole, &text);
            prop_assert_eq!(unpack::<Vec<String>>(&whole).unwrap(), value);
            prop_assert!(joined(lost).is_err());
        }

        #[test]
        fn what_is_damaged_is_refused(value in ".{1,60}", at in any::<usize>(), byte in any::<u8>()) {
            let mut packed = BASE64_STANDARD.decode(pack(&value)).unwrap();
            // Behind the header, of which some bytes mean nothing.
            let at = 10 + at % (packed.len() - 10);
            prop_assume!(packed[at] != byte);
            packed[at] = byte;
            // The last bits of a block mean nothing either: what comes back is the same then.
            if let Ok(read) = unpack::<String>(&BASE64_STANDARD.encode(packed)) {
                prop_assert_eq!(read, value);
            }
        }
    }

    #[test]
    fn texts_that_nobody_packed_are_refused() {
        assert!(unpack::<String>("no base64!").unwrap_err().contains("base64"));
        assert!(unpack::<String>("aGVsbG8=").is_err());
        assert!(unpack::<u32>(&pack(&"text")).unwrap_err().contains("cannot be read"));
        assert!(joined(vec![(0, 1, "a".into()), (0, 2, "b".into())]).is_err());
    }
}
