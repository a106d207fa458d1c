//! The one format that is promised to stay readable: what list, describe, compare, restore and delete show and read.
//!
//! A record is never stored as such: it is folded from the journal (plan, entries, pod tables), so it cannot disagree
//! with what happened. Field names are a contract; more may be added.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub mod backup;
pub mod check;
pub mod entry;
pub mod item;
pub mod paused;
pub mod restore;
pub mod verified;

/// `apiVersion` of everything that is printed as JSON or YAML.
pub const API_VERSION: &str = "consistent-backup/v1";

/// `metadata` of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The run's id.
    pub name: String,
    /// Where its journal lies.
    pub namespace: String,
    /// When it began.
    #[serde(with = "instant")]
    pub creation_timestamp: Timestamp,
}

/// A time as RFC 3339 in UTC with milliseconds.
pub mod instant {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes it.
    pub fn serialize<S: Serializer>(t: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{t:.3}"))
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(d)
    }

    /// The same for a time that may be absent.
    pub mod option {
        use jiff::Timestamp;
        use serde::{Deserialize, Deserializer, Serializer};

        /// Writes it, or null.
        pub fn serialize<S: Serializer>(t: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
            match t {
                Some(t) => super::serialize(t, s),
                None => s.serialize_none(),
            }
        }

        /// Reads it, or null.
        pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
            Option::deserialize(d)
        }
    }
}

/// Seconds between two times, to the millisecond: nothing finer was measured.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    #[allow(clippy::cast_precision_loss)] // milliseconds of a run fit exactly
    let millis = to.duration_since(from).as_millis() as f64;
    millis / 1000.0
}
