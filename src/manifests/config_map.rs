//! A reference to a ConfigMap: its name and digest, for places where its data must not be stored.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::credentials::of_config_map;
use super::name;

/// A ConfigMap by its name, and by what its data was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapReference {
    /// Its name.
    pub name: String,
    /// The pods start without it.
    #[serde(default)]
    pub optional: bool,
    /// The digest of its data. Of one that holds a secret there is none: with all else in it known, the secret could be
    /// guessed by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What in it looks like a secret: then its data is not recorded anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
}

impl ConfigMapReference {
    /// The reference to this ConfigMap.
    pub fn of(map: &Value, optional: bool) -> Self {
        let withheld = of_config_map(map);
        let digest = withheld.is_empty().then(|| digest(map));
        Self { name: name(map).to_owned(), optional, digest, withheld }
    }

    /// `configmap/conf`, as kubectl names it.
    pub fn path(&self) -> String {
        format!("configmap/{}", self.name)
    }

    /// Whether this ConfigMap has the same data as at the time of the backup; `None` if the backup has no digest of it.
    pub fn is_same(&self, there: &Value) -> Option<bool> {
        self.digest.as_ref().map(|known| *known == digest(there))
    }
}

/// SHA-256 of keys and values, with their lengths, in the order of the keys.
fn digest(map: &Value) -> String {
    let mut context = Context::new(&SHA256);
    for field in ["data", "binaryData"] {
        let values: BTreeMap<&String, &str> = map[field]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
            .collect();
        context.update(&(values.len() as u64).to_be_bytes());
        for text in values.iter().flat_map(|(key, value)| [key.as_str(), value]) {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
    }
    let mut text = "sha256:".to_owned();
    for byte in context.finish().as_ref() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn other_data_has_another_digest() {
        let map = |data: Value| json!({"metadata": {"name": "conf", "uid": data.to_string()}, "data": data});
        let known = ConfigMapReference::of(&map(json!({"a": "1", "b": "2"})), false);
        assert_eq!(
            (known.path().as_str(), known.is_same(&map(json!({"b": "2", "a": "1"})))),
            ("configmap/conf", Some(true))
        );
        for other in [
            json!({"a": "1"}),
            json!({"a": "1b2"}),
            json!({"a": "1", "b": "3"}),
            json!({"a": "12", "b": ""}),
            json!({}),
        ] {
            assert_eq!(known.is_same(&map(other.clone())), Some(false), "{other}");
        }
        let binary = json!({"binaryData": {"a": "1", "b": "2"}});
        assert_eq!(known.is_same(&binary), Some(false));
        assert!(known.digest.unwrap().starts_with("sha256:"));
    }

    #[test]
    fn of_one_with_a_secret_only_the_name_is_known() {
        let map = json!({"metadata": {"name": "conf"}, "data": {"redis.conf": "port 6379\nrequirepass geheim\n"}});
        let reference = ConfigMapReference::of(&map, true);
        assert_eq!(reference.withheld, ["requirepass in redis.conf"]);
        assert_eq!((reference.digest.as_ref(), reference.is_same(&map)), (None, None));
        let written = serde_json::to_value(&reference).unwrap();
        assert_eq!(written, json!({"name": "conf", "optional": true, "withheld": ["requirepass in redis.conf"]}));
        assert_eq!(serde_json::from_value::<ConfigMapReference>(written).unwrap(), reference);
    }
}
