//! A copy that runs on beside the original, with all that it does but its archive: its WAL has the original's names, and
//! would replace or block the original's segments there.

use k8s_openapi::api::core::v1::Container;

use super::SIGNS;
use super::verify::manager;
use crate::quiescer::verify::{Unarchived, takes_arguments};
use crate::quiescer::{Probe, Reason, shell};

const OFF: &str = "archive_mode=off";
/// What is left where it cannot be turned off.
const BY_HAND: &str = "make copies of the claims (--claims-only), and start one with archive_mode=off";

/// How it is told to archive nothing; nothing where it does not archive.
pub(super) fn unarchived(container: &Container, probe: &Probe) -> Option<Result<Unarchived, Reason>> {
    if !matches!(probe.setting("archive_mode"), "on" | "always") {
        return None;
    }
    let refused = |why: String| {
        Some(Err(shell::reason(
            format!("archive_mode is on: a copy that runs would write into the archive of the original, and {why}"),
            BY_HAND,
        )))
    };
    if let Some(manager) = manager(container) {
        return refused(format!("{manager} turns it on again"));
    }
    // The last one of a command line counts, before all files.
    if takes_arguments(container, SIGNS.servers) {
        return Some(Ok(Unarchived { told: OFF, arguments: ["-c", OFF].map(str::to_owned).into(), prepare: None }));
    }
    let given = |words: &Option<Vec<String>>| words.as_ref().is_some_and(|words| !words.is_empty());
    if given(&container.command) || given(&container.args) {
        return refused("its start program takes no arguments, so it may turn it on again".to_owned());
    }
    // The image's own start: of the files this is the one that counts.
    let script = format!(
        "cd {} && [ -s PG_VERSION ] && printf \"\\narchive_mode = 'off'\\n\" >>postgresql.auto.conf",
        shell::quote(probe.setting("data_directory"))
    );
    let prepare = Some(vec!["sh".to_owned(), "-c".to_owned(), script]);
    Some(Ok(Unarchived { told: OFF, arguments: Vec::new(), prepare }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(mode: &str, container: Value) -> Option<Result<Unarchived, Reason>> {
        let settings = [("archive_mode", mode), ("data_directory", "/data/it's")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut container = container;
        container["name"] = json!("pg");
        unarchived(&serde_json::from_value(container).unwrap(), &Probe { settings, ..Probe::default() })
    }

    #[test]
    fn whoever_archives_is_told_not_to() {
        assert!(of("off", json!({})).is_none());
        let told = of("always", json!({"args": ["-c", "archive_mode=always"]})).unwrap().unwrap();
        assert_eq!((told.arguments.join(" ").as_str(), told.prepare), ("-c archive_mode=off", None));
        let told = of("on", json!({"image": "postgres:15"})).unwrap().unwrap();
        let script = told.prepare.unwrap().join(" ");
        assert!(told.arguments.is_empty() && script.contains(r"cd '/data/it'\''s' &&"), "{script}");
    }

    #[test]
    fn whoever_may_turn_it_on_again_is_refused() {
        let refused = |container| of("on", container).unwrap().unwrap_err().message;
        assert!(refused(json!({"image": "spilo:15"})).contains("spilo turns it on again"));
        assert!(refused(json!({"command": ["/start.sh"]})).contains("takes no arguments"));
    }
}
