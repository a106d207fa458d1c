//! One line of a journal: what happened, when, and what was learned with it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::backend::{Proof, Ran};
use crate::pods::{Difference, brief, improves};
use crate::quiescer::RecoveryPoint;

/// An event with its time. The event is what the fold reads; the rest is for people and for a restore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry<E> {
    /// By the API server's clock.
    pub at: Timestamp,
    /// What happened.
    pub event: E,
    /// What was learned with it.
    #[serde(default, skip_serializing_if = "Detail::is_empty")]
    pub detail: Detail,
}

/// What was learned with an event. Never a secret; texts are capped where they are made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Detail {
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// With `Quiesced`: when the hold was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Timestamp>,
    /// With `Quiesced` and `Thawed`: where a recovery can go on from. With `Recovered`: where one from an archive ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<RecoveryPoint>,
    /// With `Cut`: by what it is proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// With `Cut`, `CutFailed` and `Discarded`: what came of the user's own command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Ran>,
    /// With `Prepared`: how far the clock in its container was ahead of the server's, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<f64>,
    /// With `Settled`: the smallest claim that can take the copy, as a Quantity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_size: Option<String>,
    /// With `Attempt`: how well the server's clock is known, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// With `Attempt`: how far this machine's clock was off the server's, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skew: Option<f64>,
    /// With `Recovered`: what is left to do by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub afterwards: Option<String>,
    /// With `Compared`, and with `Aborted` because of it: what differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differences: Option<Vec<Difference>>,
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl Detail {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What differs between the pods before a stop and after a start, and whether all of it is for the better.
    pub fn of_restart(differ: Vec<Difference>) -> (bool, Self) {
        let spoilt: Vec<&Difference> = differ.iter().filter(|d| !improves(d)).collect();
        let same = spoilt.is_empty();
        let mut detail = if same {
            Self::default()
        } else {
            Self::text(format!("the pods are not as they were: {}", brief(&spoilt)))
        };
        detail.differences = (!differ.is_empty()).then_some(differ);
        (same, detail)
    }

    /// A detail that is only a text, capped: a driver's or a server's words may be long.
    pub fn text(text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        if text.len() > 600 {
            let end = (0..=600).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        Self { text: Some(text), ..Self::default() }
    }
}
