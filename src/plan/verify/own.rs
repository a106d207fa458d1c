//! Objects that a verification may remove: those that one of the same backup made. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::labels::{CLAIM, CONFIG_MAP, POD, VERIFY};
use crate::plan::restore::Alias;

/// The annotations that name what a copy was made of.
const ORIGINAL: [&str; 3] = [POD, CLAIM, CONFIG_MAP];

/// Whether a verification of this backup made the object. A user can label objects that they may not delete, so the label
/// is not enough: the name must be the original's with this run's suffix, and an annotation must name that original.
pub fn is_own(meta: &ObjectMeta, run: &str) -> bool {
    let labelled = meta.labels.as_ref().and_then(|labels| labels.get(VERIFY)).is_some_and(|of| of == run);
    let Some(base) = meta.name.as_deref().and_then(|name| name.strip_suffix(&format!("-verify-{run}"))) else {
        return false;
    };
    // The pods of several databases in one pod have the container's name behind the pod's.
    let is_of =
        |of: &str| !of.is_empty() && base.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let notes = meta.annotations.as_ref();
    labelled && !run.is_empty() && ORIGINAL.iter().filter_map(|key| notes?.get(*key)).any(|of| is_of(of))
}

/// Whether a verification of this backup made this second VolumeSnapshot of a stored copy.
pub fn is_own_alias(alias: &Alias, run: &str) -> bool {
    alias.verify
        && alias.run == run
        && !alias.claim.is_empty()
        && alias.snapshot.starts_with(&format!("{run}-verify-"))
        && alias.content.starts_with(&format!("consistent-backup-{run}-verify-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const RUN: &str = "20261120-101500-x7k2";

    fn own(name: &str, label: &str, annotations: &Value) -> bool {
        let meta = json!({"name": name, "labels": {VERIFY: label}, "annotations": annotations});
        is_own(&serde_json::from_value(meta).expect("metadata"), RUN)
    }

    #[test]
    fn only_label_name_and_annotation_together_make_an_object_ours() {
        let name = |base: &str| format!("{base}-verify-{RUN}");
        assert!(own(&name("data-pg-0"), RUN, &json!({CLAIM: "data-pg-0"})));
        assert!(own(&name("pg-0"), RUN, &json!({POD: "pg-0"})));
        assert!(own(&name("pg-0-pg"), RUN, &json!({POD: "pg-0"})), "one of several containers");
        assert!(own(&name("conf"), RUN, &json!({CONFIG_MAP: "conf"})));
        assert!(!own("data-pg-0", RUN, &json!({CLAIM: "data-pg-0"})), "the name is another");
        assert!(!own(&name("data-pg-0"), "other", &json!({CLAIM: "data-pg-0"})), "another backup's");
        assert!(!own(&name("data-pg-0"), RUN, &json!({})), "no annotation");
        assert!(!own(&name("data-pg-0"), RUN, &json!({CLAIM: "other"})), "of another claim");
        assert!(!own(&name("data-pg-0"), RUN, &json!({CLAIM: ""})));
        assert!(!is_own(&ObjectMeta::default(), RUN) && !is_own(&ObjectMeta::default(), ""));
    }
}
