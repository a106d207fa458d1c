//! WAL segments by name: which of them a restored server writes a second time.

use crate::quiescer::{Probe, RecoveryPoint};

/// Whether this is the name of a WAL segment: 24 hexadecimal digits, in capitals.
pub(super) fn is_segment(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'))
}

/// The name of the segment that has this position; nothing if one of the three is not known.
pub(super) fn segment(timeline: &str, lsn: &str, size: &str) -> Option<String> {
    let (high, low) = lsn.split_once('/')?;
    let position = (u64::from_str_radix(high, 16).ok()? << 32) | u64::from_str_radix(low, 16).ok()?;
    let (timeline, size): (u32, u64) = (timeline.parse().ok()?, size.parse().ok()?);
    let each = 0x1_0000_0000_u64.checked_div(size)?;
    let number = position / size;
    Some(format!("{timeline:08X}{:08X}{:08X}", number.checked_div(each)?, number % each))
}

/// What is left to do where archived WAL and a restored copy meet. The copy recovers on its old timeline, from a moment
/// after which the old server archived segments of the same names with other content.
pub(super) fn collisions(probe: &Probe, point: &RecoveryPoint) -> Option<String> {
    if !matches!(probe.setting("archive_mode"), "on" | "always") {
        return None;
    }
    let of = |name: &str| point.0.get(name).map_or("", String::as_str);
    let (timeline, lsn) = (of("timeline"), of("lsn"));
    let from = match segment(timeline, lsn, probe.setting("wal_segment_size")) {
        Some(name) => format!("{name} and all later ones of timeline {timeline}"),
        None if lsn.is_empty() => "those that were archived since the backup".to_owned(),
        None => format!("those of timeline {timeline} from position {lsn} on"),
    };
    Some(format!(
        "archive_mode is on, and the restored server goes on in the timeline that it had: move these segments of its WAL \
         archive aside before it archives again: {from}. Until then archiving fails at them, or overwrites them, and a \
         recovery across this moment would mix two histories; take a new backup afterwards"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_as_the_server_names_them() {
        let of = |timeline, lsn, size| segment(timeline, lsn, size).unwrap();
        // As pg_walfile_name() names them.
        assert_eq!(of("1", "0/19E8A10", "16777216"), "000000010000000000000001");
        assert_eq!(of("3", "2A/FF000028", "16777216"), "000000030000002A000000FF");
        assert_eq!(of("10", "1/C0000000", "1073741824"), "0000000A0000000100000003");
        assert_eq!(of("1", "0/2500000", "1048576"), "000000010000000000000025");
        for (timeline, lsn, size) in
            [("", "0/1", "16777216"), ("1", "x", "16777216"), ("1", "0/1", ""), ("1", "0/1", "0")]
        {
            assert_eq!(segment(timeline, lsn, size), None);
        }
    }

    #[test]
    fn only_an_archive_collides() {
        let point = RecoveryPoint([("lsn", "0/5000060"), ("timeline", "1")].map(|(n, v)| (n.into(), v.into())).into());
        let probe = |mode: &str| Probe {
            settings: [("archive_mode", mode), ("wal_segment_size", "16777216")]
                .map(|(n, v)| (n.into(), v.into()))
                .into(),
            ..Probe::default()
        };
        assert_eq!(collisions(&probe("off"), &point), None);
        assert!(collisions(&probe("on"), &point).unwrap().contains("000000010000000000000005 and all later ones"));
    }
}
