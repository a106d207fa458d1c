use std::fs;
use std::path::Path;

use super::*;

fn file(dir: &Path, name: &str, context: &str, current: &str) -> PathBuf {
    let path = dir.join(name);
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: \"{current}\"\n\
         clusters:\n- name: {context}\n  cluster:\n    server: https://{context}.example:6443\n\
         contexts:\n- name: {context}\n  context:\n    cluster: {context}\n    user: {context}\n    namespace: of-{context}\n\
         users:\n- name: {context}\n  user:\n    token: secret-of-{context}\n"
    );
    fs::write(&path, text).unwrap();
    path
}

fn choose_with(connection: &Connection, vars: &[(&str, &str)]) -> Result<Chosen, Error> {
    choose(connection, &|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
}

#[test]
fn a_list_is_merged_and_missing_files_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    file(dir.path(), "a", "one", "");
    file(dir.path(), "b", "two", "two");
    let list = ["missing", "a", "b"].map(|f| dir.path().join(f).display().to_string()).join(":");
    let chosen = choose_with(&Connection::default(), &[("KUBECONFIG", &list)]).unwrap();
    assert_eq!(chosen.context, "two");
    assert_eq!(chosen.config.default_namespace, "of-two");

    let other = Connection { context: Some("one".into()), namespace: Some("mine".into()), ..Connection::default() };
    let chosen = choose_with(&other, &[("KUBECONFIG", &list)]).unwrap();
    assert_eq!(chosen.config.cluster_url.host(), Some("one.example"));
    assert_eq!(chosen.config.default_namespace, "mine");
}

#[test]
fn what_is_missing_is_named_with_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a", "one", "one");
    let wrong = |connection: Connection| {
        let connection = Connection { kubeconfig: Some(path.clone()), ..connection };
        choose_with(&connection, &[]).err().unwrap()
    };
    let error = wrong(Connection { context: Some("x".into()), ..Connection::default() });
    assert_eq!(error.message, format!("context \"x\" is not in kubeconfig {}", path.display()));
    assert_eq!(error.hints, ["contexts there: one"]);
    let error = wrong(Connection { user: Some("y".into()), ..Connection::default() });
    assert!(error.message.starts_with("user \"y\" is not in"), "{error}");

    let absent = Connection { kubeconfig: Some(dir.path().join("absent")), ..Connection::default() };
    let error = choose_with(&absent, &[]).err().unwrap();
    assert!(error.message.starts_with("cannot read kubeconfig"), "{error}");

    let home = dir.path().display().to_string();
    let error = choose_with(&Connection::default(), &[("HOME", &home)]).err().unwrap();
    assert!(error.message.contains("missing or empty"), "{error}");
}

#[test]
fn a_broken_file_is_named_and_its_secrets_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broken");
    fs::write(&path, "users:\n- name: u\n  user:\n    token: hunter2\n   bad: [\n").unwrap();
    let connection = Connection { kubeconfig: Some(path.clone()), ..Connection::default() };
    let error = choose_with(&connection, &[]).err().unwrap();
    assert!(error.message.contains("broken"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn flags_win_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a", "one", "one");
    let connection = Connection {
        kubeconfig: Some(path),
        server: Some("10.0.0.1:6443".into()),
        insecure_skip_tls_verify: true,
        token: Some("mine".into()),
        as_: Some("jane".into()),
        as_groups: vec!["dev".into()],
        as_user_extra: vec![("k".into(), "1".into()), ("k".into(), "2".into())],
        tls_server_name: Some("api".into()),
        ..Connection::default()
    };
    let config = choose_with(&connection, &[]).unwrap().config;
    assert_eq!(config.cluster_url.to_string(), "https://10.0.0.1:6443/");
    assert!(config.accept_invalid_certs);
    assert_eq!(config.tls_server_name.as_deref(), Some("api"));
    let user = serde_json::to_value(&config.auth_info).unwrap();
    assert_eq!(user["token"], "mine");
    assert_eq!(user["as"], "jane");
    assert_eq!(user["as-groups"][0], "dev");
    assert_eq!(user["as-user-extra"]["k"], serde_json::json!(["1", "2"]));
}

#[test]
fn a_server_alone_is_enough() {
    let connection = Connection { server: Some("https://10.0.0.1".into()), ..Connection::default() };
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().display().to_string();
    let config = choose_with(&connection, &[("HOME", &home)]).unwrap().config;
    assert_eq!(config.default_namespace, "default");
}

#[test]
fn a_trailing_comma_in_no_proxy_is_no_error() {
    let connection = Connection { server: Some("https://10.0.0.1".into()), ..Connection::default() };
    let vars = [("HOME", "/nowhere"), ("HTTPS_PROXY", "http://proxy.corp:3128"), ("NO_PROXY", "localhost,")];
    let config = choose_with(&connection, &vars).unwrap().config;
    assert_eq!(config.proxy_url.map(|u| u.to_string()).as_deref(), Some("http://proxy.corp:3128/"));
}
