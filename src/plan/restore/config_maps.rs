//! ConfigMaps whose data is not in the backup: they are used as they are now. Pure.

use crate::manifests::OfWorkload;
use crate::manifests::config_map::ConfigMapReference;
use crate::plan::restore::anew::{There, key};
use crate::plan::restore::facts::Found;

/// The ConfigMaps of a workload that the backup only names.
fn named_only(manifests: &OfWorkload) -> impl Iterator<Item = &ConfigMapReference> {
    let recorded =
        move |of: &&ConfigMapReference| manifests.config_maps.iter().any(|map| crate::manifests::name(map) == of.name);
    manifests.config_map_references.iter().filter(move |of| !recorded(of))
}

/// The remarks about those ConfigMaps that are there in this namespace, and about those without which the pods of `user`
/// start. What they need and is missing is a refusal.
pub fn notes(manifests: &OfWorkload, there: &There, namespace: &str, user: &str) -> Vec<String> {
    let note = |of: &ConfigMapReference| match there.objects.get(&key("ConfigMap", namespace, &of.name))? {
        Found::Yes(found) => match of.is_same(found) {
            Some(true) => None,
            Some(false) => {
                Some(format!("{} has changed since the backup: {user} starts with its current data", of.path()))
            }
            None => Some(format!(
                "{} may have changed since the backup, which knows only its name: {user} starts with its current data",
                of.path()
            )),
        },
        Found::No if of.optional => {
            Some(format!("{} is missing and its data is not in the backup: {user} starts without it", of.path()))
        }
        Found::No | Found::Unknown(_) => None,
    };
    named_only(manifests).filter_map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn map(data: &str) -> Value {
        json!({"kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"db.conf": data}})
    }

    fn said(recorded: &str, optional: bool, now: Option<&str>) -> Vec<String> {
        let mut of = OfWorkload::default();
        of.add_config_map(map(recorded), optional);
        let found = now.map_or(Found::No, |data| Found::Yes(Box::new(map(data))));
        let there = There { objects: [(key("ConfigMap", "demo", "conf"), found)].into(), ..There::default() };
        assert_eq!(
            notes(&of, &there, "demo", "pg").len(),
            usize::from(!of.config_map_references[0].withheld.is_empty() && (now.is_some() || optional)),
            "its data is in the backup, unless it holds a secret"
        );
        notes(&of.without_data(), &there, "demo", "pg")
    }

    #[test]
    fn another_digest_is_a_remark() {
        assert_eq!(said("a = 1", false, Some("a = 1")), Vec::<String>::new());
        assert_eq!(
            said("a = 1", false, Some("a = 2")),
            ["configmap/conf has changed since the backup: pg starts with its current data"]
        );
        let unknown = said("password = geheim", false, Some("a = 1"));
        assert!(unknown[0].starts_with("configmap/conf may have changed since the backup"), "{unknown:?}");
    }

    #[test]
    fn a_missing_one_is_a_remark_only_where_the_pods_start_without_it() {
        assert_eq!(said("a = 1", false, None), Vec::<String>::new());
        assert!(said("a = 1", true, None)[0].contains("pg starts without it"));
    }
}
