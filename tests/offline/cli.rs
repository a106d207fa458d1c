//! The binary as it is typed, without a cluster: help, wrong flags, and a server that is not there.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use crate::support::plugin::Plugin;

const SUBCOMMANDS: [&str; 9] =
    ["quiesce-snapshot", "restore-from-snapshot", "thaw", "list", "describe", "compare", "delete", "rbac", "verify"];

#[test]
fn help_is_on_stdout_and_names_the_command_as_it_is_typed() {
    let help = Plugin::new().args(["--help"]).run().done();
    for subcommand in SUBCOMMANDS {
        assert!(help.stdout.contains(&format!("\n  {subcommand} ")), "{subcommand} is not in the help\n{help}");
        for flag in ["--help", "-h"] {
            let help = Plugin::new().args([subcommand, flag]).run().done();
            let usage = format!("Usage: kubectl consistent-backup {subcommand}");
            assert!(help.stdout.contains(&usage), "{help}");
            assert!(help.stderr.is_empty(), "{help}");
        }
    }
    let version = Plugin::new().args(["--version"]).run().done().stdout;
    assert_eq!(version.trim(), format!("kubectl consistent-backup {}", env!("CARGO_PKG_VERSION")));
}

/// kubectl's flags are those of every subcommand, before and after it.
#[test]
fn kubectls_own_flags_are_in_every_help() {
    for subcommand in SUBCOMMANDS {
        let help = Plugin::new().args([subcommand, "--help"]).run().done().stdout;
        for flag in ["--namespace", "--context", "--kubeconfig", "--server", "--token", "--as", "--request-timeout"] {
            assert!(help.contains(flag), "{subcommand} does not take {flag}\n{help}");
        }
    }
}

#[test]
fn what_is_typed_wrong_is_a_usage_error() {
    let wrong: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["freeze"], "freeze"),
        (&["--no-such-flag"], "--no-such-flag"),
        (&["quiesce-snapshot"], "select pods with -l"),
        (&["quiesce-snapshot", "sts", "redis"], "sts/redis"),
        (&["thaw", "pod/x"], "backup/RUN or restore/RUN"),
        (&["delete", "r1", "foo/r1"], "backup/RUN or restore/RUN"),
        (&["quiesce-snapshot", "sts/a", "-l", "app=a"], "cannot be used with"),
        (&["quiesce-snapshot", "sts/a", "--quiesce-budget", "soon"], "soon"),
        (&["quiesce-snapshot", "sts/a", "--attempts", "0"], "0"),
        (&["quiesce-snapshot", "sts/a", "-o", "xml"], "xml"),
        (&["restore-from-snapshot"], "RUN"),
        (&["restore-from-snapshot", "--resume", "run", "--to-namespace", "x"], "cannot be used with"),
        (&["restore-from-snapshot", "run", "--to-namespace", "x", "--discard-old"], "cannot be used with"),
        (&["restore-from-snapshot", "run", "--claims-only", "--suffix", "A_b"], "cannot end a name"),
        (&["thaw", "run", "-A"], "cannot be used with"),
        (&["describe"], "RUN"),
        (&["describe", "run", "-o", "xml"], "name, runbook"),
        (&["describe", "run", "-o", "runbook", "--target", "2026-11-20T10:15:05"], "is no instant such as"),
        (&["compare", "run", "-o", "runbook"], "an output format of describe only"),
        (&["compare", "one", "two"], "two"),
        (&["delete"], "RUN"),
        (&["verify"], "RUN"),
        (&["verify", "run", "--wait", "soon"], "soon"),
        (&["quiesce-snapshot", "sts/a", "--query", "psql"], "--verify"),
        (&["quiesce-snapshot", "sts/a", "--verify", "--dry-run"], "cannot be used with"),
        (&["rbac", "extra"], "extra"),
        (&["rbac", "--for", "freeze"], "the commands are quiesce-snapshot, restore-from-snapshot"),
        (&["rbac", "--platform", "freeze"], "freeze"),
        (&["rbac", "--explain", "--cold"], "cannot be used with"),
        (&["quiesce-snapshot", "--release", "r", "--guard-pull-secret", "s"], "--guard-image"),
    ];
    for (args, word) in wrong {
        let ended = Plugin::new().args(*args).run().exits(2);
        assert!(ended.stderr.contains(word), "`{word}` is not said\n{ended}");
        assert!(ended.stdout.is_empty(), "{ended}");
    }
}

/// Objects that no kind can have are noticed before anybody is asked.
#[test]
fn what_is_no_object_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = kubeconfig(folder.path(), "https://127.0.0.1:1");
    for object in ["postgres", "sts/", "secret/x", "sts/a/b"] {
        let plugin = Plugin::new().kubeconfig(&kubeconfig).args(["quiesce-snapshot", object]);
        plugin.run().exits(2).says(&[object]);
        let missing = Plugin::new().args(["quiesce-snapshot", object, "--kubeconfig", "/nonexistent/kubeconfig"]);
        missing.run().exits(2).says(&[object]);
    }
    let short = ["quiesce-snapshot", "sts/a", "--quiesce-budget", "1ms", "--kubeconfig", "/nonexistent/kubeconfig"];
    Plugin::new().args(short).run().exits(2).says(&["--quiesce-budget"]);
}

fn kubeconfig(folder: &Path, server: &str) -> std::path::PathBuf {
    let path = folder.join("config");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
         users: [{{name: c, user: {{token: t}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: c}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Every command that asks a cluster.
const ASKING: &[&[&str]] = &[
    &["quiesce-snapshot", "sts/a"],
    &["quiesce-snapshot", "sts/a", "--dry-run"],
    &["restore-from-snapshot", "run", "--yes"],
    &["thaw"],
    &["list"],
    &["describe", "run"],
    &["compare", "run"],
    &["delete", "run", "--yes"],
    &["verify", "run"],
    &["prune", "--keep-last", "1"],
];

#[test]
fn a_server_that_is_not_there_is_named_at_once() {
    // A port that was free a moment ago, and that nobody listens on.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = format!("127.0.0.1:{port}");
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = kubeconfig(folder.path(), &format!("https://{server}"));
    for args in ASKING {
        // Who thaws is not told that everything serves, for nobody has looked.
        let code = if args[0] == "thaw" { 4 } else { 1 };
        let ended = Plugin::new().kubeconfig(&kubeconfig).args(*args).run().exits(code).says(&["error: ", &server]);
        assert!(ended.took < Duration::from_secs(15), "not at once\n{ended}");
        assert!(ended.stdout.is_empty(), "{ended}");
        let lines = ended.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(lines, 1, "one error\n{ended}");
    }
}

#[test]
fn a_kubeconfig_that_is_not_there_is_named() {
    let missing = Path::new("/nonexistent/kubeconfig");
    let ended = Plugin::new().args(["list", "--kubeconfig", missing.to_str().unwrap()]).run();
    assert!(matches!(ended.code(), Some(1 | 2)), "{ended}");
    ended.says(&["error: ", "/nonexistent/kubeconfig"]);
}

#[test]
fn rbac_needs_no_cluster() {
    let all = Plugin::new().args(["rbac"]).run().done().stdout;
    let backup = Plugin::new().args(["rbac", "--backup-only"]).run().done().stdout;
    for text in [&all, &backup] {
        for word in ["kind: Role", "kind: ClusterRole", "pods/exec", "volumesnapshots", "leases"] {
            assert!(text.contains(word), "no {word} in\n{text}");
        }
        assert!(!text.contains("\"*\"") && !text.contains("- '*'"), "everything is no list of what is used\n{text}");
    }
    assert!(all.len() > backup.len(), "a restore uses more than a backup");
    assert!(!all.contains("namespace:"), "{all}");
    let there = Plugin::new().args(["rbac", "-n", "demo"]).run().done().stdout;
    let (role, cluster_role) = there.split_once("---").unwrap();
    assert!(role.contains("namespace: demo") && !cluster_role.contains("namespace:"), "{there}");
    let backup_too = Plugin::new().args(["rbac", "--for", "quiesce-snapshot"]).run().done().stdout;
    assert_eq!(backup, backup_too, "an alias");
}

/// What each option adds, leaves out or moves.
#[test]
fn rbac_prints_the_least_for_each_purpose() {
    let printed = |options: &[&str]| Plugin::new().args(["rbac", "-n", "demo"]).args(options).run().done().stdout;
    let backup = printed(&["--for", "quiesce-snapshot"]);
    assert!(!backup.contains("portforward"), "{backup}");
    assert!(printed(&["--for", "quiesce-snapshot", "--platform", "scalar"]).contains("portforward"));
    assert!(printed(&["--for", "quiesce-snapshot", "--cold"]).contains("volumeattachments"));
    assert!(!printed(&["--no-contents"]).contains("volumesnapshotcontents"));
    let apart = printed(&["--for", "quiesce-snapshot", "--record-namespace", "records", "--to-namespace", "copies"]);
    for namespace in ["demo", "records", "copies"] {
        assert_eq!(apart.matches(&format!("namespace: {namespace}\n")).count(), 1, "{apart}");
    }
    let reads = printed(&["--for", "list", "--for", "describe", "--for", "compare"]);
    for verb in ["create", "patch", "delete", "watch"] {
        assert!(!reads.contains(&format!("- {verb}\n")), "{reads}");
    }
    assert!(printed(&["--for", "guard"]).contains("rules: []"));
}
