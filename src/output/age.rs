//! Ages and durations as kubectl prints them: two or three significant figures, never a decimal point.

use jiff::Timestamp;

/// The AGE of something created then, or `<unknown>`.
pub fn age(created: Option<Timestamp>, now: Timestamp) -> String {
    match created {
        Some(created) => seconds(now.as_second() - created.as_second()),
        None => "<unknown>".into(),
    }
}

/// `5s`, `2m10s`, `3h`, `5d23h` … Two seconds in the future still count as now, because clocks differ.
fn seconds(s: i64) -> String {
    const YEAR: i64 = 24 * 365;
    let (minutes, hours) = (s / 60, s / 3600);
    match s {
        ..-1 => return "<invalid>".into(),
        -1 => return "0s".into(),
        0..120 => return format!("{s}s"),
        _ => {}
    }
    match minutes {
        ..10 => return two((minutes, "m"), (s % 60, "s")),
        10..180 => return format!("{minutes}m"),
        _ => {}
    }
    let days = hours / 24;
    match hours {
        ..8 => two((hours, "h"), (minutes % 60, "m")),
        8..48 => format!("{hours}h"),
        48..192 => two((days, "d"), (hours % 24, "h")),
        192.. if hours < 2 * YEAR => format!("{days}d"),
        _ if hours < 8 * YEAR => two((days / 365, "y"), (days % 365, "d")),
        _ => format!("{}y", days / 365),
    }
}

/// The second unit is left out when it is nothing.
fn two((large, unit): (i64, &str), (small, small_unit): (i64, &str)) -> String {
    if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{small_unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_kubectls() {
        const M: i64 = 60;
        const H: i64 = 3600;
        const D: i64 = 24 * H;
        for (s, text) in [
            (-3, "<invalid>"),
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (10 * M - 1, "9m59s"),
            (10 * M + 1, "10m"),
            (3 * H - 1, "179m"),
            (3 * H, "3h"),
            (3 * H + 61, "3h1m"),
            (8 * H - 1, "7h59m"),
            (8 * H + 59 * M, "8h"),
            (2 * D - 1, "47h"),
            (2 * D, "2d"),
            (5 * D + 23 * H, "5d23h"),
            (8 * D, "8d"),
            (729 * D, "729d"),
            (730 * D, "2y"),
            (800 * D, "2y70d"),
            (8 * 365 * D + 40 * D, "8y"),
        ] {
            assert_eq!(seconds(s), text, "{s}");
        }
    }

    #[test]
    fn an_age_is_counted_from_now() {
        let now: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        assert_eq!(age("2026-11-20T09:57:50Z".parse().ok(), now), "2m10s");
        assert_eq!(age(None, now), "<unknown>");
    }
}
