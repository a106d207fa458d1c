use super::*;

/// A ConfigMap with compare-and-swap.
#[derive(Default)]
struct Map {
    version: u64,
    data: BTreeMap<String, String>,
}

impl Map {
    fn apply(&mut self, patch: &Patch) -> Result<String, ()> {
        if patch.version != self.version.to_string() {
            return Err(());
        }
        self.data.extend(patch.data.clone());
        self.version += 1;
        Ok(self.version.to_string())
    }

    fn entries(&self) -> Vec<&str> {
        let entries = self.data.iter().filter(|(k, _)| k.starts_with('e'));
        entries.map(|(_, v)| v.as_str()).collect()
    }

    fn found(&self, ledger: &mut Ledger) -> Found {
        ledger.conflict(&self.data["writer"], self.version.to_string())
    }
}

fn begun() -> (Ledger, Map) {
    let mut map = Map::default();
    map.data.insert("writer".into(), Ledger::mark("me", 0));
    (Ledger::new("me".into(), "0".into(), (0, 0)), map)
}

fn entry(text: &str) -> Vec<Content> {
    vec![Content::Entry(text.into())]
}

#[test]
fn entries_are_numbered_in_order_across_writes() {
    let (mut ledger, mut map) = begun();
    for texts in [&["a", "b"][..], &["c"]] {
        for text in texts {
            ledger.push(entry(text)).unwrap();
        }
        let (mark, patch) = ledger.patch();
        assert_eq!(patch.data.len(), texts.len() + 1);
        ledger.written(mark, map.apply(&patch).unwrap());
        assert!(ledger.is_empty());
    }
    assert_eq!(map.entries(), ["a", "b", "c"]);
    assert_eq!(map.data["writer"], "me/2");
}

#[test]
fn a_lost_answer_is_found_to_be_our_own_write() {
    let (mut ledger, mut map) = begun();
    ledger.push(entry("a")).unwrap();
    let (_, lost) = ledger.patch();
    map.apply(&lost).unwrap();
    // More comes while nobody knows, and is tried with it.
    let more = ledger.push(entry("b")).unwrap();
    let (_, patch) = ledger.patch();
    assert!(map.apply(&patch).is_err());
    assert_eq!(map.found(&mut ledger), Found::Ours);
    assert!(ledger.waits_for(more));
    let (mark, patch) = ledger.patch();
    ledger.written(mark, map.apply(&patch).unwrap());
    assert_eq!(map.entries(), ["a", "b"]);
}

#[test]
fn a_repeated_write_is_the_same_write() {
    let (mut ledger, mut map) = begun();
    ledger.push(entry("a")).unwrap();
    let first = ledger.patch();
    assert_eq!(ledger.patch(), first);
    map.apply(&first.1).unwrap();
    assert_eq!(map.found(&mut ledger), Found::Ours);
    assert!(ledger.is_empty());
}

#[test]
fn an_entry_that_was_given_up_and_written_after_all_keeps_its_number() {
    let (mut ledger, mut map) = begun();
    ledger.push(entry("a")).unwrap();
    let (_, lost) = ledger.patch();
    map.apply(&lost).unwrap();
    ledger.push(entry("b")).unwrap();
    let (_, patch) = ledger.patch();
    assert!(map.apply(&patch).is_err());
    assert_eq!(map.found(&mut ledger), Found::Ours);
    let (mark, patch) = ledger.patch();
    ledger.written(mark, map.apply(&patch).unwrap());
    assert_eq!(map.entries(), ["a", "b"]);
}

#[test]
fn an_entry_that_was_given_up_and_not_written_is_written_with_the_next() {
    let (mut ledger, mut map) = begun();
    ledger.push(entry("a")).unwrap();
    let (_, late) = ledger.patch();
    ledger.push(entry("b")).unwrap();
    let (mark, patch) = ledger.patch();
    ledger.written(mark, map.apply(&patch).unwrap());
    // The first request arrives now: too late.
    assert!(map.apply(&late).is_err());
    assert_eq!(map.entries(), ["a", "b"]);
}

#[test]
fn a_changed_label_is_no_takeover() {
    let (mut ledger, mut map) = begun();
    map.version += 1;
    ledger.push(entry("a")).unwrap();
    let (_, patch) = ledger.patch();
    assert!(map.apply(&patch).is_err());
    assert_eq!(map.found(&mut ledger), Found::Untouched);
    let (mark, patch) = ledger.patch();
    ledger.written(mark, map.apply(&patch).unwrap());
    assert_eq!(map.entries(), ["a"]);
}

#[test]
fn another_writer_has_taken_over_also_after_a_write_of_ours_that_was_lost() {
    let (mut ledger, mut map) = begun();
    ledger.push(entry("a")).unwrap();
    let (_, lost) = ledger.patch();
    map.apply(&lost).unwrap();
    let mut other = Ledger::new("you".into(), map.version.to_string(), (1, 0));
    other.push(entry("taken over")).unwrap();
    let (_, claim) = other.patch();
    map.apply(&claim).unwrap();
    assert_eq!(map.found(&mut ledger), Found::TakenOver);
    for foreign in ["", "me", "me/99", "mee/0", "you/0"] {
        assert_eq!(ledger.conflict(foreign, "9".into()), Found::TakenOver, "{foreign}");
    }
}

#[test]
fn there_is_always_room_to_say_that_it_was_thawed() {
    let (mut ledger, _) = begun();
    let table = "x".repeat(500 << 10);
    ledger.push(vec![Content::Key("pods.before".into(), table.clone())]).unwrap();
    assert!(ledger.push(vec![Content::Key("pods.after".into(), table)]).is_err());
    for _ in 0..100 {
        ledger.push(entry(&"y".repeat(1000))).unwrap();
    }
    assert!(ledger.push(entry(&"z".repeat(500 << 10))).is_err());
    ledger.push(entry("thawed")).unwrap();
    assert!(ledger.push(vec![Content::Key("plan".into(), String::new())]).is_err());
}
