//! What `--set-property` changes in the properties of releases while they are down: planned, done, and put back. Pure.
//!
//! Of the properties only the values that are set are remembered, for the way back: the rest of the text may hold
//! credentials, which a record must not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Workload;
use super::facts::{Facts, Found};
use super::properties::{Change, Changed, changed, changes, removed, rewritten};
use crate::error::Refusal;
use crate::plan::Plan;
use crate::plan::release::{Properties, Release, properties};
use crate::typed::quoted;

/// How the user asks for it.
const FLAG: &str = "--set-property";

/// What is set in the properties of one release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edit {
    /// The namespace.
    pub namespace: String,
    /// The release.
    pub release: String,
    /// The object.
    pub properties: Properties,
    /// Its uid: another one of the same name is never changed.
    pub uid: String,
    /// The values.
    pub values: Vec<Value>,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Value {
    /// The key.
    pub key: String,
    /// The value, from now on.
    pub new: String,
    /// The value before; nothing where there was none.
    pub old: Option<String>,
    /// How that was written, from its key on: the way back puts every byte of it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
}

/// An object with properties as it is now.
#[derive(Clone, PartialEq, Eq)]
pub struct Now {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub version: String,
    /// The text under the key; nothing where there is no such key, or no text under it.
    pub text: Option<String>,
    /// Whether it can never be changed.
    pub immutable: bool,
    /// Whether Helm made it.
    pub helm: bool,
}

/// The text may hold credentials.
impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Now").field("uid", &self.uid).finish_non_exhaustive()
    }
}

impl Edit {
    /// `configmap/shop-database-properties`, as kubectl names it.
    pub fn path(&self) -> String {
        path(&self.properties)
    }

    /// The text with the values, or nothing where it has them. Refused is what was changed since the plan was made: the way
    /// back would not put that back.
    pub fn set(&self, text: &str) -> Result<Option<String>, String> {
        let now = properties::effective(text);
        let mut left = Vec::new();
        for value in &self.values {
            match now.get(&value.key) {
                Some(now) if *now == value.new => {}
                now if now == value.old.as_ref() => {
                    left.push(Change { key: value.key.clone(), value: value.new.clone() });
                }
                _ => return Err(format!("{}: {} was changed since the plan was made", self.path(), value.key)),
            }
        }
        if left.is_empty() {
            return Ok(None);
        }
        let made = changed(text, &left);
        made.map(|made| Some(made.text)).map_err(|refused| format!("{}: {}", self.path(), said(&refused)))
    }

    /// The keys that have neither the value that was set nor the one from before, and so stay as they are.
    pub fn changed_since(&self, text: &str) -> Vec<String> {
        let now = properties::effective(text);
        let ours = |value: &&Value| {
            let now = now.get(&value.key);
            now == Some(&value.new) || now == value.old.as_ref()
        };
        self.values.iter().filter(|value| !ours(value)).map(|value| value.key.clone()).collect()
    }

    /// The text with the values from before, or nothing where it has them. What somebody has changed since stays.
    pub fn put_back(&self, text: &str) -> Option<String> {
        let mut made = text.to_owned();
        for value in self.values.iter().filter(|value| value.old.as_ref() != Some(&value.new)) {
            if properties::effective(&made).get(&value.key) != Some(&value.new) {
                continue;
            }
            made = match (&value.old, &value.written) {
                (_, Some(written)) => rewritten(&made, &value.key, written),
                (Some(old), None) => {
                    let change = Change { key: value.key.clone(), value: old.clone() };
                    changed(&made, &[change]).map_or(made, |made| made.text)
                }
                (None, None) => removed(&made, &value.key),
            };
        }
        (made != text).then_some(made)
    }

    /// `NAMESPACE/RELEASE`.
    pub fn of(&self) -> String {
        format!("{}/{}", self.namespace, self.release)
    }
}

fn path(of: &Properties) -> String {
    format!("{}/{}", of.kind.to_lowercase(), of.name)
}

fn said(refused: &[Refusal]) -> String {
    refused.iter().map(|r| format!("{} {}", r.object, r.message)).collect::<Vec<_>>().join("; ")
}

/// The releases of which something is set, whatever else is wrong with that.
pub fn asked_of<'a>(plan: &'a Plan, asked: &[String]) -> Vec<&'a Release> {
    let wanted = by_release(plan, asked, &mut Vec::new());
    wanted.into_keys().filter_map(|r| plan.releases.get(r)).collect()
}

/// What is asked for as `KEY=VALUE`, `RELEASE:KEY=VALUE` or `NAMESPACE/RELEASE:KEY=VALUE`, by the release's number.
fn by_release(plan: &Plan, asked: &[String], refusals: &mut Vec<Refusal>) -> BTreeMap<usize, Vec<String>> {
    let mut all: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let names: Vec<String> = plan.releases.iter().map(|r| r.among(&plan.releases)).collect();
    for text in asked {
        let Some((key, _)) = text.split_once('=') else {
            // Which release it is of does not matter: it is refused.
            all.entry(0).or_default().push(text.clone());
            continue;
        };
        // No key has a colon.
        let (named, rest) = key.split_once(':').map_or((None, text.as_str()), |(n, _)| (Some(n), &text[n.len() + 1..]));
        let is = |r: &Release| named.is_none_or(|n| n == r.name || n == r.path());
        let of: Vec<usize> = (0..names.len()).filter(|&r| is(&plan.releases[r])).collect();
        match (of.as_slice(), named) {
            ([one], _) => all.entry(*one).or_default().push(rest.to_owned()),
            // Said once, for all of them.
            ([], None) => {}
            ([], Some(name)) => refusals.push(
                Refusal::new(format!("{FLAG} {key}"), format!("release {name} is not in backup {}", plan.run))
                    .hint(format!("it has {}", if names.is_empty() { "none".into() } else { names.join(", ") })),
            ),
            (_, None) => refusals.push(
                Refusal::new(format!("{FLAG} {key}"), format!("the backup has several releases: {}", names.join(", ")))
                    .hint(format!("say of which: {FLAG} {}", quoted(&format!("{}:{key}=VALUE", names[of[0]])))),
            ),
            (_, Some(name)) => refusals.push(
                Refusal::new(
                    format!("{FLAG} {key}"),
                    format!("the backup has releases {name} in several namespaces: which one is meant is not known"),
                )
                .hint(format!(
                    "say of which: {FLAG} {}",
                    quoted(&format!("{}:{}=VALUE", names[of[0]], &key[name.len() + 1..]))
                )),
            ),
        }
    }
    all
}

/// What is set while the releases are down; every reason why it cannot be is added to `refusals`.
pub(super) fn plan(
    plan: &Plan,
    asked: &[String],
    stopped: &[Workload],
    facts: &Facts,
    refusals: &mut Vec<Refusal>,
    notes: &mut Vec<String>,
) -> Vec<Edit> {
    if !asked.is_empty() && plan.releases.is_empty() {
        let none = Refusal::new(FLAG, format!("backup {} has no release of ScalarDB or ScalarDL", plan.run));
        refusals.push(none.hint(format!("restore it without {FLAG}")));
        return Vec::new();
    }
    let wanted = by_release(plan, asked, refusals);
    let mut edits: Vec<Edit> = Vec::new();
    for (r, asked) in wanted {
        match edit(&plan.releases[r], &asked, stopped, facts, notes) {
            Ok(edit) => edits.push(edit),
            Err(refused) => refusals.extend(refused),
        }
    }
    let mut objects = BTreeSet::new();
    for edit in &edits {
        if !objects.insert((&edit.namespace, edit.path())) {
            let shared = format!("it holds the properties of several releases, {} among them", edit.release);
            refusals.push(Refusal::new(edit.path(), shared).hint("edit it by hand once they are restored"));
        }
    }
    edits
}

fn edit(
    release: &Release,
    asked: &[String],
    stopped: &[Workload],
    facts: &Facts,
    notes: &mut Vec<String>,
) -> Result<Edit, Vec<Refusal>> {
    let changes = changes(asked)?;
    let refused = |object: String, why: String, hint: &str| Err(vec![Refusal::new(object, why).hint(hint)]);
    let by_hand = "edit its properties by hand, and restart its pods";
    if !stopped.iter().any(|w| w.front && w.namespace == release.namespace && w.name == release.deployment) {
        let why = format!("deployment/{} cannot be stopped, so its properties are not changed", release.deployment);
        return refused(format!("release/{}", release.name), why, by_hand);
    }
    let Some(of) = &release.properties else {
        let why = "the backup does not know where its properties lie".to_owned();
        return refused(format!("release/{}", release.name), why, by_hand);
    };
    let now = match facts.properties.get(&release.path()) {
        Some(Found::Yes(now)) => now,
        Some(Found::No) => return refused(path(of), "it is gone".into(), "install the release again"),
        Some(Found::Unknown(why)) => return Err(vec![Refusal::new(path(of), format!("it could not be read: {why}"))]),
        None => return Err(vec![Refusal::new(path(of), "it was not looked for")]),
    };
    if now.immutable {
        let anew = "replace it by one with the new values, and restart the pods";
        return refused(path(of), "it is immutable, so no property can be set in it".into(), anew);
    }
    let Some(text) = &now.text else {
        return refused(path(of), format!("it has no key {} with a text", of.key), by_hand);
    };
    if now.helm {
        notes.push(format!(
            "{} was made by Helm: the next `helm upgrade` of release {} sets it back, unless its values say the same",
            path(of),
            release.name
        ));
    }
    let Changed { old, .. } = changed(text, &changes)?;
    let values = changes.into_iter().zip(old).map(|(Change { key, value }, old)| {
        let (old, written) = old.map(|old| (old.value, old.written)).unzip();
        Value { key, new: value, old, written }
    });
    Ok(Edit {
        namespace: release.namespace.clone(),
        release: release.name.clone(),
        properties: of.clone(),
        uid: now.uid.clone(),
        values: values.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(values: &[(&str, &str, Option<&str>)]) -> Edit {
        let value = |(key, new, old): &(&str, &str, Option<&str>)| Value {
            key: (*key).into(),
            new: (*new).into(),
            old: old.map(str::to_owned),
            written: old.map(|old| format!("{key}={old}")),
        };
        Edit {
            namespace: "demo".into(),
            release: "shop".into(),
            properties: Properties { kind: "ConfigMap".into(), name: "shop-p".into(), key: "k".into() },
            uid: "u".into(),
            values: values.iter().map(value).collect(),
        }
    }

    #[test]
    fn what_is_set_is_set_once_and_put_back_whatever_came_of_it() {
        let edit = edit(&[("a", "new", Some("old")), ("b", "2", None), ("c", "3", Some("3"))]);
        let before = "# x\na=old\nc=3\n";
        let after = edit.set(before).unwrap().unwrap();
        assert_eq!(after, "# x\na=new\nc=3\nb=2\n");
        assert_eq!(edit.set(&after), Ok(None), "done again it changes nothing");
        assert_eq!(edit.put_back(&after).as_deref(), Some(before));
        assert_eq!(edit.put_back(before), None, "it was never set");
        assert_eq!(edit.put_back("a=new\n").as_deref(), Some("a=old\n"), "half of it");
        assert_eq!(edit.put_back("a=theirs\n"), None, "somebody else's since");
        let mut former = edit.clone();
        former.values.iter_mut().for_each(|value| value.written = None);
        assert_eq!(former.put_back(&after).as_deref(), Some(before), "a record that does not say how it was written");
        assert_eq!(edit.changed_since(&after), [""; 0]);
        assert_eq!(edit.changed_since("a=theirs\n"), ["a", "c"]);
        assert!(edit.set("a=theirs\n").unwrap_err().contains("a was changed since"));
        assert!(edit.set("a=old\nb=1\nc=3\n").unwrap_err().contains("b was changed since"));
    }
}
