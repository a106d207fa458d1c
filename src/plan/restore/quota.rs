//! Whether the namespaces' quotas leave room for the new claims.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceQuota;

use crate::error::Refusal;
use crate::plan::quantity;

/// How much more a restore needs in one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    claims: i128,
    bytes: i128,
    by_class: BTreeMap<String, (i128, i128)>,
}

impl Need {
    /// A claim that comes.
    pub(super) fn add(&mut self, class: Option<&str>, size: &str) {
        self.change(class, size, 1);
    }

    /// A claim that goes before.
    pub(super) fn remove(&mut self, class: Option<&str>, size: &str) {
        self.change(class, size, -1);
    }

    fn change(&mut self, class: Option<&str>, size: &str, sign: i128) {
        let bytes = quantity::bytes(size).unwrap_or(0) * sign;
        self.claims += sign;
        self.bytes += bytes;
        if let Some(class) = class {
            let of = self.by_class.entry(class.to_owned()).or_default();
            *of = (of.0 + sign, of.1 + bytes);
        }
    }

    fn of(&self, resource: &str) -> i128 {
        match resource {
            "persistentvolumeclaims" | "count/persistentvolumeclaims" => self.claims,
            "requests.storage" => self.bytes,
            _ => {
                let Some((class, what)) = resource.split_once(".storageclass.storage.k8s.io/") else { return 0 };
                let (claims, bytes) = self.by_class.get(class).copied().unwrap_or_default();
                match what {
                    "persistentvolumeclaims" => claims,
                    "requests.storage" => bytes,
                    _ => 0,
                }
            }
        }
    }
}

/// Refuses what would not fit. A quota that is exceeded already refuses only what makes it worse.
pub(super) fn check(needs: &BTreeMap<String, Need>, quotas: &[ResourceQuota], refusals: &mut Vec<Refusal>) {
    for quota in quotas {
        let namespace = quota.metadata.namespace.as_deref().unwrap_or_default();
        let (Some(need), Some(status)) = (needs.get(namespace), &quota.status) else { continue };
        for (resource, hard) in status.hard.iter().flatten() {
            let more = need.of(resource);
            let used = status.used.as_ref().and_then(|used| used.get(resource)).map_or("0", |q| q.0.as_str());
            let (Some(hard_is), Some(used_is)) = (quantity::bytes(&hard.0), quantity::bytes(used)) else { continue };
            if more > 0 && used_is + more > hard_is {
                let name = quota.metadata.name.as_deref().unwrap_or_default();
                refusals.push(Refusal::new(
                    format!("resourcequota/{name}"),
                    format!("{resource}: {} more are needed, but {used} of {} are used", quantity::human(more), hard.0),
                ));
            }
        }
    }
}
