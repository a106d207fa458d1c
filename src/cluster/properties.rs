//! The object with the properties of a release: read for what is set in it, and changed. Nothing else of it is kept.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ApiResource, DynamicObject};
use serde_json::{Value, json};

use super::client::{Cluster, explain};
use crate::plan::release::Properties;
use crate::plan::restore::edits::Now;

const SECRET: &str = "Secret";

/// Where it is read and changed.
pub fn api(cluster: &Cluster, namespace: &str, of: &Properties) -> Api<DynamicObject> {
    let resource =
        if of.kind == SECRET { ApiResource::erase::<Secret>(&()) } else { ApiResource::erase::<ConfigMap>(&()) };
    Api::namespaced_with(cluster.api.clone(), namespace, &resource)
}

/// As it is now; `None` if it does not exist.
pub async fn read(cluster: &Cluster, namespace: &str, of: &Properties) -> Result<Option<Now>, String> {
    let found = api(cluster, namespace, of).get_opt(&of.name).await.map_err(|e| explain(&e))?;
    Ok(found.map(|object| now(of, &object)))
}

fn now(of: &Properties, object: &DynamicObject) -> Now {
    let value = &object.data["data"][&of.key];
    let text = if of.kind == SECRET {
        serde_json::from_value::<ByteString>(value.clone()).ok().and_then(|bytes| String::from_utf8(bytes.0).ok())
    } else {
        value.as_str().map(str::to_owned)
    };
    let meta = &object.metadata;
    let labels = meta.labels.as_ref().and_then(|l| l.get("app.kubernetes.io/managed-by"));
    let annotations = meta.annotations.as_ref();
    Now {
        uid: meta.uid.clone().unwrap_or_default(),
        version: meta.resource_version.clone().unwrap_or_default(),
        text,
        immutable: object.data["immutable"] == Value::Bool(true),
        helm: labels.is_some_and(|by| by == "Helm")
            || annotations.is_some_and(|a| a.contains_key("meta.helm.sh/release-name")),
    }
}

/// What makes the text that was read this one, and nothing else, and only if nobody changed it meanwhile.
pub fn patch(of: &Properties, now: &Now, text: &str) -> Value {
    let value = if of.kind == SECRET { json!(ByteString(text.as_bytes().to_vec())) } else { json!(text) };
    json!({ "metadata": { "uid": now.uid, "resourceVersion": now.version }, "data": { of.key.as_str(): value } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(kind: &str) -> Properties {
        Properties { kind: kind.into(), name: "shop".into(), key: "database.properties".into() }
    }

    fn object(kind: &str, value: &Value) -> Now {
        let object: DynamicObject = serde_json::from_value(json!({
            "metadata": {"uid": "u", "resourceVersion": "7", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
            "immutable": true, "data": {"database.properties": value}
        }))
        .unwrap();
        now(&properties(kind), &object)
    }

    #[test]
    fn the_text_of_a_secret_goes_in_and_out_as_bytes() {
        for (kind, value) in [("ConfigMap", "a=1"), (SECRET, "YT0x")] {
            let found = object(kind, &json!(value));
            assert_eq!((found.text.as_deref(), found.immutable, found.helm), (Some("a=1"), true, true));
            assert_eq!(
                patch(&properties(kind), &found, "a=1"),
                json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "data": {"database.properties": value}})
            );
            assert!(!format!("{found:?}").contains("a=1"), "it may hold credentials");
        }
        assert_eq!(object(SECRET, &json!("/w==")).text, None, "no text");
        assert_eq!(object("ConfigMap", &Value::Null).text, None);
    }
}
