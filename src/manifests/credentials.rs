//! Values in a workload's manifest that look like secrets. They are taken out before anything is recorded: a record is
//! read by more people than a Secret.

use serde_json::Value;

use super::kind;

/// Wherever one of these stands in a variable's name, its value is a secret.
const ANYWHERE: &[&str] =
    &["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "APIKEY", "REQUIREPASS", "MASTERAUTH"];
/// These only as a word of their own: `KEYSPACE` is none.
const AS_WORD: &[&str] = &["KEY", "PASS", "PWD"];

/// Takes the secrets out of a workload's manifest and names them.
pub fn withhold(workload: &mut Value) -> Vec<String> {
    let mut withheld = Vec::new();
    let spec = match kind(workload) {
        "Pod" => &mut workload["spec"],
        _ => &mut workload["spec"]["template"]["spec"],
    };
    for containers in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(containers).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            let of = container["name"].as_str().unwrap_or_default().to_owned();
            let mut found: Vec<String> = variables(container);
            for place in ["command", "args"] {
                found.extend(container.get_mut(place).into_iter().flat_map(words));
            }
            for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                found.extend(container.pointer_mut(&format!("/{probe}/exec/command")).into_iter().flat_map(words));
            }
            for hook in ["postStart", "preStop"] {
                let command = container.pointer_mut(&format!("/lifecycle/{hook}/exec/command"));
                found.extend(command.into_iter().flat_map(words));
            }
            found.sort();
            found.dedup();
            withheld.extend(found.into_iter().map(|what| format!("{what} of container {of}")));
        }
    }
    withheld
}

/// Environment variables with a literal value that is a secret.
fn variables(container: &mut Value) -> Vec<String> {
    let mut found = Vec::new();
    for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default().to_owned();
        let Some(value) = variable["value"].as_str() else { continue };
        if (is_name(&name) && !is_harmless(&name, value)) || has_userinfo(value) {
            if let Some(variable) = variable.as_object_mut() {
                variable.remove("value");
            }
            found.push(name);
        }
    }
    found
}

/// Secrets among the words of a command: `--password=x`, `--requirepass x`, `PGPASSWORD=x psql`, `redis-cli -a x`.
fn words(command: &mut Value) -> Vec<String> {
    let mut found = Vec::new();
    let Some(words) = command.as_array_mut() else { return found };
    let mut client = String::new();
    let mut before = String::new();
    for word in words {
        let Some(text) = word.as_str().map(str::to_owned) else { continue };
        let of_flag = secret_option(&before).filter(|_| !text.starts_with('-'));
        let short = (before == "-a" && client.ends_with("redis-cli")).then_some("-a");
        if let Some(flag) = of_flag.map(|flag| format!("--{flag}")).or(short.map(str::to_owned))
            && !is_harmless("", &text)
        {
            *word = "".into();
            found.push(flag);
        } else if let Some(what) = inside(&text, &client) {
            // A script is nothing without the secret in it, and nobody can tell where that ends.
            *word = "".into();
            found.push(what);
        }
        if client.is_empty() || matches!(before.as_str(), "exec" | "env") {
            client.clone_from(&text);
        }
        before = text;
    }
    found
}

/// A secret inside of one word of a command, which may be a whole script.
fn inside(text: &str, client: &str) -> Option<String> {
    let mut client = client.to_owned();
    let mut before = "";
    for word in text.split(|c: char| c.is_whitespace() || ";&|()".contains(c)).filter(|word| !word.is_empty()) {
        let word = word.trim_matches(['"', '\'']);
        if let Some((name, value)) = word.split_once('=')
            && is_name(name.trim_start_matches('-'))
            && !is_harmless(name, value.trim_matches(['"', '\'']))
        {
            return Some(name.to_owned());
        }
        if before == "-a" && client.ends_with("redis-cli") && !is_harmless("", word) {
            return Some("-a".to_owned());
        }
        if let Some(option) = secret_option(before).filter(|_| !word.starts_with('-') && !is_harmless("", word)) {
            return Some(format!("--{option}"));
        }
        let of_mysql = ["mysql", "mariadb", "mysqladmin", "mariadb-admin"].iter().any(|c| client.ends_with(c));
        if let Some(value) = word.strip_prefix("-p").filter(|_| of_mysql)
            && !value.is_empty()
            && !is_harmless("", value)
        {
            return Some("-p".to_owned());
        }
        if has_userinfo(word) {
            return Some("an address with a password".to_owned());
        }
        if !word.starts_with('-') && !word.contains('=') {
            word.clone_into(&mut client);
        }
        before = word;
    }
    None
}

/// The option's name, if the word after it is a secret.
fn secret_option(word: &str) -> Option<&str> {
    let option = word.strip_prefix('-')?.trim_start_matches('-');
    let plain = option.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    (plain && is_name(option)).then_some(option)
}

/// Whether a variable or an option of this name holds a secret.
fn is_name(name: &str) -> bool {
    let upper: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    let flat = upper.replace('_', "");
    let words: Vec<&str> = upper.split('_').collect();
    ANYWHERE.iter().any(|word| flat.contains(word))
        || words.iter().any(|word| AS_WORD.contains(word))
        || words.last() == Some(&"AUTH")
        || words.last().is_some_and(|word| word.ends_with("PASS"))
}

/// Whether the value cannot be a secret: nothing, a switch, a reference, or the path of a file with it.
fn is_harmless(name: &str, value: &str) -> bool {
    let switch = ["", "0", "1", "yes", "no", "true", "false", "on", "off"];
    switch.contains(&value.to_ascii_lowercase().as_str())
        || value.starts_with('$')
        || value.starts_with("\"$")
        || (value.starts_with('/') && (name.is_empty() || ends_as_file(name)))
}

fn ends_as_file(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["FILE", "PATH", "DIR", "KEY"].iter().any(|end| name.ends_with(end))
}

/// `scheme://user:password@host`.
fn has_userinfo(value: &str) -> bool {
    let rest = value.split_once("://").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    let userinfo = rest.and_then(|rest| rest.rsplit_once('@')).map(|(userinfo, _)| userinfo);
    userinfo.and_then(|u| u.split_once(':')).is_some_and(|(_, password)| !is_harmless("", password))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn withheld(container: &Value) -> (Vec<String>, Value) {
        let mut container = container.clone();
        container["name"] = json!("db");
        let mut set = json!({"kind": "StatefulSet", "spec": {"template": {"spec": {"containers": [container]}}}});
        let found = withhold(&mut set);
        let found = found.into_iter().map(|what| what.strip_suffix(" of container db").unwrap().to_owned()).collect();
        (found, set["spec"]["template"]["spec"]["containers"][0].clone())
    }

    #[test]
    fn values_of_secret_variables_are_gone() {
        let env = |name: &str, value: &str| withheld(&json!({"env": [{"name": name, "value": value}]}));
        for (name, value) in [
            ("POSTGRES_PASSWORD", "x"),
            ("MYSQL_PASSWD", "x"),
            ("PGPASS", "x"),
            ("API_KEY", "x"),
            ("apiKey", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("REDISCLI_AUTH", "x"),
            ("DATABASE_URL", "postgres://app:geheim@db:5432/app"),
            ("DB_PWD", "x"),
        ] {
            let (found, container) = env(name, value);
            assert_eq!(found, [name]);
            assert_eq!(container["env"][0], json!({"name": name}));
        }
        for (name, value) in [
            ("POSTGRES_PASSWORD_FILE", "/run/secrets/pg"),
            ("MARIADB_RANDOM_ROOT_PASSWORD", "yes"),
            ("POSTGRES_HOST_AUTH_METHOD", "trust"),
            ("CASSANDRA_KEYSPACE", "app"),
            ("DATABASE_URL", "postgres://app:$(DB_PASSWORD)@db:5432/app"),
            ("DATABASE_URL", "postgres://db:5432/app"),
            ("PASSWORD", "$(OTHER)"),
            ("POSTGRES_USER", "app"),
        ] {
            assert_eq!(env(name, value).0, Vec::<String>::new(), "{name}={value}");
        }
        let reference =
            json!({"env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "pg", "key": "p"}}}]});
        let (found, container) = withheld(&reference);
        assert!(found.is_empty());
        assert_eq!(container["env"], reference["env"]);
    }

    #[test]
    fn secrets_in_commands_are_gone() {
        for (args, what) in [
            (json!(["--requirepass", "geheim"]), "--requirepass"),
            (json!(["--password=geheim"]), "--password"),
            (json!(["-c", "PGPASSWORD=geheim psql"]), "PGPASSWORD"),
            (json!(["-c", "exec redis-server --requirepass geheim"]), "--requirepass"),
            (json!(["redis-cli", "-a", "geheim", "ping"]), "-a"),
            (json!(["sh", "-c", "redis-cli -a geheim ping"]), "-a"),
            (json!(["mysqladmin", "-pgeheim", "ping"]), "-p"),
            (json!(["sh", "-c", "exec mysql -uroot -p'geheim' -e 'SELECT 1'"]), "-p"),
            (json!(["wget", "http://u:geheim@host/"]), "an address with a password"),
        ] {
            let (found, container) = withheld(&json!({"args": args.clone()}));
            assert_eq!(found, [what], "{args}");
            assert!(!container.to_string().contains("geheim"), "{container}");
            let (found, container) = withheld(&json!({"livenessProbe": {"exec": {"command": args}}}));
            assert_eq!((found, container.to_string().contains("geheim")), (vec![what.to_owned()], false));
        }
        for args in [
            json!(["--appendonly", "yes", "--requirepass", "$(REDIS_PASSWORD)"]),
            json!(["sh", "-c", "redis-cli -a \"$REDIS_PASSWORD\" ping"]),
            json!(["mysqladmin", "-uroot", "-p$MYSQL_ROOT_PASSWORD", "ping"]),
            json!(["pg_isready", "--port=5432", "-p", "5432"]),
            json!(["mysqld", "--secure-file-priv=/x", "--ssl-key=/etc/tls/key.pem"]),
            json!(["-c", "config_file=/etc/postgresql.conf"]),
        ] {
            let (found, container) = withheld(&json!({"args": args.clone()}));
            assert_eq!((found, &container["args"]), (Vec::<String>::new(), &args));
        }
    }
}
