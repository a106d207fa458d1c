//! The journal of a run: the ConfigMap into which the plugin writes every event.

use serde_json::Value;

use super::scene::Scene;

/// The events of a run, the oldest first.
#[track_caller]
pub fn events(scene: &Scene, run: &str) -> Vec<Value> {
    read(&scene.kubectl.get(&format!("configmap/consistent-backup-{run}")))
}

/// How many events a run has.
#[track_caller]
pub fn count(scene: &Scene, run: &str) -> u32 {
    u32::try_from(events(scene, run).len()).unwrap()
}

/// What an event is, without its parameters: `{"quiesced": 0}` is `quiesced`.
pub fn word(event: &Value) -> &str {
    let key = || event.as_object().and_then(|object| object.keys().next()).map_or("", String::as_str);
    event.as_str().unwrap_or_else(key)
}

fn read(journal: &Value) -> Vec<Value> {
    let is_entry = |key: &str| key.strip_prefix('e').is_some_and(|n| n.len() == 4 && n.parse::<u32>().is_ok());
    let entries = journal["data"].as_object().into_iter().flatten().filter(|(key, _)| is_entry(key));
    let mut entries: Vec<(&String, &Value)> = entries.collect();
    entries.sort_by_key(|(key, _)| *key);
    let parse = |text: &Value| -> Value { serde_json::from_str(text.as_str().unwrap()).unwrap() };
    entries.into_iter().map(|(_, text)| parse(text)["event"].take()).collect()
}

#[test]
fn events_are_read_in_their_order_and_nothing_else_is() {
    let journal = serde_json::json!({"data": {"e0001": r#"{"event":{"quiesced":0}}"#, "format": "1", "extra": "x",
        "e0000": r#"{"event":"cutIntended"}"#, "plan": "{}"}});
    assert_eq!(read(&journal).iter().map(word).collect::<Vec<_>>(), ["cutIntended", "quiesced"]);
}
