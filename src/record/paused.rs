//! The window of paused releases in the words of scalar-admin-for-kubernetes, whose users' scripts read them at the top of
//! its JSON.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backup::Window;
use crate::plan::Release;

/// Its result (scalar-admin-for-kubernetes 230848b, `Result.java`). Of several releases all names are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// The namespace.
    pub namespace: String,
    /// The release.
    pub helm_release_name: String,
    /// All were paused, in milliseconds since 1970.
    pub pause_start_timestamp_ms: i64,
    /// Before the first was unpaused.
    pub pause_end_timestamp_ms: i64,
    /// The same as local time of the zone. Always with milliseconds, which it leaves out where they are zero.
    pub pause_start_date_time: String,
    /// The same as local time of the zone.
    pub pause_end_date_time: String,
    /// Always `Etc/UTC`, its default.
    pub timezone: String,
}

impl Paused {
    /// Nothing where no release was paused.
    pub(super) fn of(releases: &[Release], window: &Window) -> Option<Self> {
        let joined = |of: fn(&Release) -> &String| {
            let mut all: Vec<&str> = releases.iter().map(|release| of(release).as_str()).collect();
            all.dedup();
            all.join(",")
        };
        let local = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%S%.3f").to_string();
        (!releases.is_empty()).then(|| Self {
            namespace: joined(|release| &release.namespace),
            helm_release_name: joined(|release| &release.name),
            pause_start_timestamp_ms: window.start.as_millisecond(),
            pause_end_timestamp_ms: window.end.as_millisecond(),
            pause_start_date_time: local(window.start),
            pause_end_date_time: local(window.end),
            timezone: "Etc/UTC".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::release::Product;

    #[test]
    fn the_keys_are_those_that_scripts_read() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let window = Window {
            start: at("2026-11-22T05:16:13.497Z"),
            end: at("2026-11-22T05:16:16.5Z"),
            middle: at("2026-11-22T05:16:15Z"),
            seconds: 3.0,
            accuracy_seconds: 0.0,
            client_skew_seconds: 0.0,
            database_skew_seconds: None,
        };
        let release = Release {
            namespace: "scalar".into(),
            name: "ledger".into(),
            product: Product::Ledger,
            chart: String::new(),
            app_version: String::new(),
            deployment: String::new(),
            service: String::new(),
            properties: None,
        };
        let printed = serde_json::to_value(Paused::of(std::slice::from_ref(&release), &window)).unwrap();
        assert_eq!(
            printed,
            serde_json::json!({
                "namespace": "scalar", "helm_release_name": "ledger",
                "pause_start_timestamp_ms": 1_795_324_573_497_i64, "pause_end_timestamp_ms": 1_795_324_576_500_i64,
                "pause_start_date_time": "2026-11-22T05:16:13.497", "pause_end_date_time": "2026-11-22T05:16:16.500",
                "timezone": "Etc/UTC"
            })
        );
        assert_eq!(Paused::of(&[], &window), None);
    }
}
