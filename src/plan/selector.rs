//! A label selector as text.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// A selector as it is written after `-l`, and as the API server takes it in a query.
pub fn selector_text(selector: &LabelSelector) -> String {
    let equal = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let others = selector.match_expressions.iter().flatten().map(|e| {
        let values = e.values.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(",");
        match e.operator.as_str() {
            "In" => format!("{} in ({values})", e.key),
            "NotIn" => format!("{} notin ({values})", e.key),
            "DoesNotExist" => format!("!{}", e.key),
            _ => e.key.clone(),
        }
    });
    equal.chain(others).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_selector_is_written_as_kubectl_reads_it() {
        let selector = serde_json::from_value(json!({
            "matchLabels": {"app": "db", "tier": "x"},
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["1", "2"]},
                {"key": "b", "operator": "NotIn", "values": ["3"]},
                {"key": "c", "operator": "Exists"},
                {"key": "d", "operator": "DoesNotExist"}
            ]
        }));
        assert_eq!(selector_text(&selector.unwrap()), "app=db,tier=x,a in (1,2),b notin (3),c,!d");
    }
}
