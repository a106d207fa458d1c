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

/// Chooses from a kubeconfig with this cluster and this user, both in YAML.
fn chosen_of(cluster: &str, user: &str, connection: Connection) -> Result<Chosen, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {cluster}}}]\n\
         users: [{{name: c, user: {user}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: c}}}}]\n"
    );
    fs::write(&path, text).unwrap();
    choose_with(&Connection { kubeconfig: Some(path), ..connection }, &[])
}

const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/server.crt");

#[test]
fn a_certificate_authority_ends_skipping() {
    let insecure = "{server: 'https://s', insecure-skip-tls-verify: true}";
    let given = Connection { certificate_authority: Some(CERTIFICATE.into()), ..Connection::default() };
    let config = chosen_of(insecure, "{}", given.clone()).unwrap().config;
    assert!(!config.accept_invalid_certs && config.root_cert.is_some_and(|certs| certs.len() == 1));
    assert!(chosen_of(insecure, "{}", Connection::default()).unwrap().config.accept_invalid_certs);

    // The other way round: skipping drops the kubeconfig's CA.
    let verified = format!("{{server: 'https://s', certificate-authority: '{CERTIFICATE}'}}");
    let skips = Connection { insecure_skip_tls_verify: true, ..Connection::default() };
    let config = chosen_of(&verified, "{}", skips.clone()).unwrap().config;
    assert!(config.accept_invalid_certs && config.root_cert.is_none());

    let both = Connection { insecure_skip_tls_verify: true, ..given };
    let of_file =
        format!("{{server: 'https://s', certificate-authority: '{CERTIFICATE}', insecure-skip-tls-verify: true}}");
    for chosen in [chosen_of(insecure, "{}", both), chosen_of(&of_file, "{}", Connection::default())] {
        let error = chosen.err().unwrap();
        assert!(
            error.to_string().contains("a certificate authority and insecure-skip-tls-verify exclude each other"),
            "{error}"
        );
    }
}

#[test]
fn no_credentials_go_to_a_server_without_tls() {
    let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: Never}}";
    let certificate = format!("{{client-certificate: '{CERTIFICATE}', client-key: k}}");
    for user in ["{token: secret}", "{tokenFile: /t}", "{username: u, password: secret}", exec, &certificate] {
        let chosen = chosen_of("{server: 'http://s:8080'}", user, Connection::default()).unwrap();
        assert!(chosen.plugin.is_none(), "{user}");
        assert_eq!(serde_json::to_value(&chosen.config.auth_info).unwrap(), serde_json::json!({}), "{user}");
        let warned = ["http://s:8080 is not encrypted: the user's credentials are not sent"];
        assert_eq!(chosen.warnings, warned, "{user}");
        let safe = chosen_of("{server: 'https://s:8080'}", "{token: secret}", Connection::default()).unwrap();
        assert!(safe.config.auth_info.token.is_some() && safe.warnings.is_empty());
    }
    // A bare host without any TLS setting, and a token from the command line.
    let bare =
        Connection { server: Some("u:pass@s:8080".into()), token: Some("secret".into()), ..Connection::default() };
    let chosen = chosen_of("{server: 'https://s'}", "{}", bare).unwrap();
    assert!(chosen.config.auth_info.token.is_none());
    assert_eq!(chosen.warnings.len(), 1);
    assert!(!chosen.warnings[0].contains("pass"), "{:?}", chosen.warnings);
    // Impersonation stays, and a user without credentials causes no warning.
    let jane = Connection { as_: Some("jane".into()), ..Connection::default() };
    let chosen = chosen_of("{server: 'http://s:8080'}", "{}", jane).unwrap();
    assert_eq!((chosen.config.auth_info.impersonate.as_deref(), chosen.warnings.len()), (Some("jane"), 0));
}

#[test]
fn another_server_drops_the_kubeconfigs_tls_server_name() {
    let cluster = "{server: 'https://s', tls-server-name: inner}";
    let name = |connection| chosen_of(cluster, "{}", connection).unwrap().config.tls_server_name;
    assert_eq!(name(Connection::default()).as_deref(), Some("inner"));
    let other = Connection { server: Some("https://o".into()), ..Connection::default() };
    assert_eq!(name(other.clone()), None);
    assert_eq!(name(Connection { tls_server_name: Some("mine".into()), ..other }).as_deref(), Some("mine"));
}

#[test]
fn any_other_credential_takes_precedence_over_the_plugin() {
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: Never}";
    let plugin = |more: &str, connection| {
        chosen_of("{server: 'https://s'}", &format!("{{{more}{exec}}}"), connection).unwrap().plugin.is_some()
    };
    assert!(plugin("", Connection::default()));
    for more in ["token: t, ", "tokenFile: /t, ", "username: u, password: p, ", "client-certificate-data: c, "] {
        assert!(!plugin(more, Connection::default()), "{more}");
    }
    assert!(!plugin("", Connection { token: Some("t".into()), ..Connection::default() }));
    assert!(!plugin("", Connection { client_certificate: Some("c".into()), ..Connection::default() }));
}

#[test]
fn an_auth_provider_that_kubectl_dropped_is_refused() {
    let gcp = "{auth-provider: {name: gcp, config: {cmd-path: /bin/sh, cmd-args: secret}}}";
    let error = chosen_of("{server: 'https://s'}", gcp, Connection::default()).err().unwrap();
    assert_eq!(error.to_string(), "the user's auth-provider \"gcp\" is not supported");
}

#[test]
fn messages_show_an_address_without_its_password() {
    for (server, shown) in [
        ("https://u:p@h:6443/x@y", "https://h:6443/x@y"),
        ("u:p@h", "h"),
        ("https://[fd00::1]:6443", "https://[fd00::1]:6443"),
        ("h:6443", "h:6443"),
        ("https://u:p@ss@h", "https://h"),
    ] {
        assert_eq!(without_userinfo(server), shown);
    }
    let wrong = chosen_of("{server: 'https://u:secret@[h'}", "{}", Connection::default()).err().unwrap();
    assert!(!wrong.to_string().contains("secret"), "{wrong}");
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
