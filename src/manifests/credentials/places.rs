//! The places of a pod's spec in which somebody may have written a secret.

use serde_json::Value;

use super::names::is_secret;
use super::references::{Place, is_harmless};
use super::{commands, values};

/// Environment variables with a literal value that is a secret.
pub(super) fn variables(container: &mut Value) -> Vec<String> {
    let mut found = Vec::new();
    for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default().to_owned();
        let Some(value) = variable["value"].as_str() else { continue };
        if is_secret_value(&name, value) {
            without(variable, "value");
            found.push(name);
        }
    }
    found
}

/// Whether a variable of this name and value, or an option of a driver, holds a secret.
fn is_secret_value(name: &str, value: &str) -> bool {
    let of_name = is_secret(name) && !is_harmless(name, value, Place::Variable);
    // One that is a command line, which some start program runs.
    let of_command = || value.contains(char::is_whitespace) && commands::in_script(value).is_some();
    of_name || values::find(value, Place::Variable).is_some() || of_command()
}

/// Secrets among the words of these lists, which are one command: `command` and `args`.
pub(super) fn words(container: &mut Value, lists: &[&str]) -> Vec<String> {
    let words: Vec<(&str, usize, String)> = lists
        .iter()
        .flat_map(|list| {
            let words = container.pointer(list).and_then(Value::as_array).into_iter().flatten().enumerate();
            words.map(|(n, word)| (*list, n, word.as_str().unwrap_or_default().to_owned())).collect::<Vec<_>>()
        })
        .collect();
    let found = commands::find(&words.iter().map(|(_, _, word)| word.as_str()).collect::<Vec<_>>());
    for (at, _) in &found {
        let (list, n, _) = &words[*at];
        // A script is nothing without the secret in it, and nobody can tell where that ends.
        if let Some(word) = container.pointer_mut(&format!("{list}/{n}")) {
            *word = "".into();
        }
    }
    found.into_iter().map(|(_, what)| what).collect()
}

/// Secrets in what a probe or a hook asks for by HTTP: its headers, and its path.
pub(super) fn request(asked: Option<&mut Value>) -> Vec<String> {
    let Some(asked) = asked else { return Vec::new() };
    let mut found = Vec::new();
    for header in asked.get_mut("httpHeaders").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = header["name"].as_str().unwrap_or_default().to_owned();
        let value = header["value"].as_str().unwrap_or_default();
        let of_name = is_secret(&name) && !is_harmless(&name, value, Place::Variable);
        if of_name || values::find(value, Place::Variable).is_some() {
            without(header, "value");
            found.push(format!("header {name}"));
        }
    }
    if let Some(what) = asked["path"].as_str().and_then(|path| values::find(path, Place::Variable)) {
        without(asked, "path");
        found.push(format!("{what} in a path"));
    }
    found
}

/// Secrets among the options of a volume's driver.
pub(super) fn volumes(spec: &mut Value) -> Vec<String> {
    let mut found = Vec::new();
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let of = volume["name"].as_str().unwrap_or_default().to_owned();
        for options in ["/csi/volumeAttributes", "/flexVolume/options"] {
            let Some(options) = volume.pointer_mut(options).and_then(Value::as_object_mut) else { continue };
            options.retain(|name, value| {
                let is = value.as_str().is_some_and(|value| is_secret_value(name, value));
                if is {
                    found.push(format!("{name} of volume {of}"));
                }
                !is
            });
        }
    }
    found
}

fn without(object: &mut Value, field: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(field);
    }
}
