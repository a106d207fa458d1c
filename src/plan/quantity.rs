//! Kubernetes' quantities (`10Gi`, `1500M`, `1e9`, `0.5Ti`) as whole bytes. Pure.

/// The bytes that a quantity stands for, rounded up as Kubernetes rounds; `None` if it is no quantity of bytes.
pub fn bytes(quantity: &str) -> Option<i128> {
    let text = quantity.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 24 {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, mut below) = multiplier(suffix)?;
    below = below.checked_mul(10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let value = mantissa.checked_mul(factor)?;
    Some(value.checked_add(below - 1)? / below)
}

/// By what a suffix multiplies, and by what it divides.
fn multiplier(suffix: &str) -> Option<(i128, i128)> {
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|s| *s == suffix);
    if let Some(n) = binary {
        return Some((1024_i128.pow(u32::try_from(n).ok()? + 1), 1));
    }
    let decimal = ["", "k", "M", "G", "T", "P", "E"].iter().position(|s| *s == suffix);
    if let Some(n) = decimal {
        return Some((1000_i128.pow(u32::try_from(n).ok()?), 1));
    }
    if let Some(n) = ["m", "u", "n"].iter().position(|s| *s == suffix) {
        return Some((1, 1000_i128.pow(u32::try_from(n).ok()? + 1)));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs()).filter(|p| *p <= 10_i128.pow(18))?;
    Some(if exponent >= 0 { (power, 1) } else { (1, power) })
}

/// The greater of two quantities, as it was written. One that cannot be read counts as nothing.
pub fn greater<'a>(a: &'a str, b: &'a str) -> &'a str {
    if bytes(b).unwrap_or(0) > bytes(a).unwrap_or(0) { b } else { a }
}

/// Bytes in the largest binary unit that shows them exactly.
pub fn human(bytes: i128) -> String {
    let units = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let (mut value, mut unit) = (bytes, 0);
    while value != 0 && value % 1024 == 0 && unit + 1 < units.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_a_size_is_read() {
        let table = [
            ("1Gi", 1 << 30),
            ("1073741824", 1 << 30),
            ("0.5Gi", 1 << 29),
            ("1G", 1_000_000_000),
            ("1e9", 1_000_000_000),
            ("1E9", 1_000_000_000),
            ("1E", 1_000_000_000_000_000_000),
            ("1500M", 1_500_000_000),
            ("1.5k", 1500),
            ("1500m", 2),
            ("12e-1", 2),
            ("100Mi", 104_857_600),
            (".5Ki", 512),
            ("0", 0),
        ];
        for (text, value) in table {
            assert_eq!(bytes(text), Some(value), "{text}");
        }
        for text in ["", "Gi", "-1Gi", "1gi", "1.2.3", "one", "1e", "1e99", "9999999999999999999999999999"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn the_greater_one_keeps_its_writing() {
        assert_eq!(greater("1Gi", "1073741824"), "1Gi");
        assert_eq!(greater("1G", "1Gi"), "1Gi");
        assert_eq!(greater("2Gi", "1073741824"), "2Gi");
        assert_eq!(greater("1Gi", "nonsense"), "1Gi");
        assert_eq!(human(1 << 30), "1Gi");
        assert_eq!(human(3 << 19), "1536Ki");
        assert_eq!(human(0), "0");
    }
}
