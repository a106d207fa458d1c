//! The one instant that all databases go back to.

use jiff::{SignedDuration, Timestamp};

use crate::error::Error;
use crate::record::backup::{Backup, Window};

/// The window of a backup, or why there is nothing that could be recovered.
pub(super) fn window(backup: &Backup) -> Result<&Window, Error> {
    let (name, status) = (&backup.metadata.name, &backup.status);
    if status.outcome == "Running" {
        return Err(Error::refused(format!("backup {name} is not over: there is no instant to recover to yet")));
    }
    status.window.as_ref().ok_or_else(|| {
        let why = if status.reason.is_empty() { String::new() } else { format!(" ({})", status.reason) };
        let databases = if status.databases.is_empty() { ", and its record names no database" } else { "" };
        Error::refused(format!(
            "backup {name} is {}{why}: it has no window, so nothing can be recovered to an instant of it{databases}",
            status.outcome
        ))
    })
}

/// The instant as a whole second: AWS, Azure and the others take nothing finer. Without a target the middle of the
/// window; rounding never leaves it.
pub(super) fn instant(backup: &Backup, window: &Window, target: Option<Timestamp>) -> Result<Timestamp, Error> {
    let within = |at: Timestamp| window.start <= at && at <= window.end;
    if let Some(target) = target.filter(|target| !within(*target)) {
        return Err(Error::refused(format!(
            "{target} lies outside the window of backup {}, {:.3} to {:.3}: transactions were under way, and no restore to \
             it is consistent",
            backup.metadata.name, window.start, window.end
        ))
        .hint("without --target the middle of the window is used"));
    }
    let wanted = target.unwrap_or(window.middle);
    let below = Timestamp::from_second(wanted.as_second()).unwrap_or(wanted);
    let above = below + SignedDuration::from_secs(1);
    [below, above].into_iter().find(|at| within(*at)).ok_or_else(|| {
        Error::refused(format!(
            "the window of backup {}, {:.3} to {:.3}, holds no whole second, and databases are not recovered to a finer \
             instant",
            backup.metadata.name, window.start, window.end
        ))
        .hint("take another one that is held for longer: --backend window --hold 10s")
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::backup;
    use super::*;
    use crate::error::ExitCode;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-20T10:15:{text}Z").parse().unwrap()
    }

    fn chosen(start: &str, end: &str, target: Option<&str>) -> Result<Timestamp, Error> {
        let mut backup = backup();
        let half = (at(end) - at(start)).total(jiff::Unit::Nanosecond).unwrap() / 2.0;
        #[allow(clippy::cast_possible_truncation, reason = "a window of seconds")]
        let middle = at(start) + SignedDuration::from_nanos(half as i64);
        let window = Window { start: at(start), end: at(end), middle, ..backup.status.window.take().unwrap() };
        instant(&backup, &window, target.map(at))
    }

    #[test]
    fn it_is_a_whole_second_inside_the_window() {
        assert_eq!(chosen("00.400", "10.400", None).unwrap(), at("05"));
        assert_eq!(chosen("00.400", "10.400", Some("07.9")).unwrap(), at("07"));
        assert_eq!(chosen("00.400", "10.400", Some("00.5")).unwrap(), at("01"), "down would leave the window");
        assert_eq!(chosen("00", "10", Some("00")).unwrap(), at("00"), "both ends belong to it");
        assert_eq!(chosen("00", "10", Some("10")).unwrap(), at("10"));
        assert_eq!(chosen("00.9", "01.2", None).unwrap(), at("01"));
    }

    #[test]
    fn an_instant_outside_is_refused() {
        for outside in ["00.399", "10.401", "59"] {
            let error = chosen("00.400", "10.400", Some(outside)).unwrap_err();
            assert_eq!(error.code, ExitCode::Refused);
            assert!(error.message.contains("lies outside the window of backup"), "{error}");
            assert!(error.message.contains("2026-11-20T10:15:00.400Z to 2026-11-20T10:15:10.400Z"), "{error}");
        }
        let none = chosen("00.1", "00.9", None).unwrap_err();
        assert!(none.message.contains("holds no whole second") && none.hints[0].contains("--hold 10s"), "{none}");
    }

    #[test]
    fn a_window_of_ten_seconds_always_has_one() {
        for millis in 0..1000 {
            let (start, end) = (format!("00.{millis:03}"), format!("10.{millis:03}"));
            let at = chosen(&start, &end, None).unwrap();
            assert!(at.as_second() % 60 >= 4 && at.as_second() % 60 <= 6, "{start}: {at}");
        }
    }

    #[test]
    fn what_is_no_backup_has_none() {
        let mut backup = backup();
        backup.status.window = None;
        backup.status.outcome = "Failed".into();
        backup.status.reason = "a step failed".into();
        let error = window(&backup).unwrap_err();
        assert!(error.message.contains("is Failed (a step failed): it has no window"), "{error}");
        assert!(!error.message.contains("names no database"));
        backup.status.databases.clear();
        assert!(window(&backup).unwrap_err().message.ends_with("and its record names no database"));
        backup.status.outcome = "Running".into();
        assert!(window(&backup).unwrap_err().message.contains("is not over"));
    }
}
