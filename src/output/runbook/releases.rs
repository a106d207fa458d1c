//! The releases are stopped before a database is touched, and started after all are restored: by one command, in the last
//! part only. One that serves while another database is not back yet writes what no instant has.

use super::Restoring;
use super::page::Page;
use crate::plan::Release;
use crate::plan::release::{APP, INSTANCE};
use crate::pods::PodState;

/// Stops all.
pub(super) fn stop(page: &mut Page, restoring: &Restoring<'_>) {
    let releases = &restoring.backup.status.releases;
    if releases.is_empty() {
        page.say(
            "The record names no release of ScalarDB or ScalarDL: stop the application by its own means, all of it.",
        );
    }
    for release in releases {
        page.say(&format!(
            "{} {}, which had {} pods; helm upgrade while it is stopped would start it again.",
            release.product.title(),
            release.path(),
            pods(restoring, release).len()
        ));
        page.run(
            &restoring.typed.kubectl(&["scale", &deployment(release), "-n", &release.namespace], &["--replicas=0"]),
        );
    }
    for release in releases {
        let (namespace, selector) = (release.namespace.as_str(), selector(release));
        page.run(
            &restoring
                .typed
                .kubectl(&["wait", "pod", "-n", namespace, "-l", &selector], &["--for=delete", "--timeout=10m"]),
        );
    }
}

/// Starts all, with the addresses that are others now, and says what they are to look like.
pub(super) fn start(page: &mut Page, restoring: &Restoring<'_>, addresses: &[String]) {
    let releases = &restoring.backup.status.releases;
    if releases.is_empty() {
        page.say("Only when every database above is restored: start the application.");
        return;
    }
    page.say("Only when every database above is restored, and every endpoint changed that is another one now.");
    // Of any other outcome a restore is refused.
    let restorable = matches!(restoring.backup.status.outcome.as_str(), "ApplicationConsistent" | "CrashConsistent");
    if restorable && !(addresses.is_empty() && restoring.backup.status.claims.is_empty()) {
        restore(page, restoring, addresses);
    } else {
        if !restorable {
            page.say(
                "Of this backup nothing is restored by the plugin: an address that is another one now is set in the \
                 properties by hand, first.",
            );
        }
        scale(page, restoring);
    }
    page.say(
        "As many pods as before, all Running and ready, none restarted. Their names are new ones. Before the backup:",
    );
    let all: Vec<&PodState> = releases.iter().flat_map(|release| pods(restoring, release)).collect();
    for pod in all {
        page.say(&format!("  {}/{} {} {}", pod.namespace, pod.name, pod.status, pod.ready));
    }
    page.say(
        "The next backup of these databases needs point-in-time recovery on the restored ones: see that it is enabled.",
    );
}

/// By the plugin: claims, addresses and the start are one restore, which goes back as one too.
fn restore(page: &mut Page, restoring: &Restoring<'_>, addresses: &[String]) {
    let mut does = vec!["stops what still runs"];
    if !restoring.backup.status.claims.is_empty() {
        does.push("brings the claims back that were copied inside the same window");
    }
    if !addresses.is_empty() {
        does.push("sets the new addresses");
    }
    page.say(&format!(
        "This shows a plan and asks; then it {}, starts the releases, waits until they serve and compares the pods. If it \
         fails it goes back to the claims and properties of before, and can be run again.",
        does.join(", ")
    ));
    let (run, namespace) = (restoring.run(), &restoring.backup.metadata.namespace);
    let mut command = restoring.typed.command("restore-from-snapshot", run, namespace);
    for address in addresses {
        command.push_str(&format!(" \\\n  --set-property {address}"));
    }
    page.run(&command);
}

/// By hand: nothing but the databases was restored, and those are where they were.
fn scale(page: &mut Page, restoring: &Restoring<'_>) {
    let releases = &restoring.backup.status.releases;
    for release in releases {
        let replicas = format!("--replicas={}", pods(restoring, release).len().max(1));
        let words = ["scale", &deployment(release), "-n", &release.namespace];
        page.run(&restoring.typed.kubectl(&words, &[&replicas]));
    }
    for release in releases {
        let words = ["rollout", "status", &deployment(release), "-n", &release.namespace];
        page.run(&restoring.typed.kubectl(&words, &["--timeout=10m"]));
        let words = ["get", "pods", "-n", &release.namespace, "-l", &selector(release)];
        page.run(&restoring.typed.kubectl(&words, &[]));
    }
}

/// A release's Deployment as `deployment/NAME`: a bare name that begins with a dash would be read as an option.
fn deployment(release: &Release) -> String {
    format!("deployment/{}", release.deployment)
}

/// The label selector of a release's pods.
fn selector(release: &Release) -> String {
    format!("{INSTANCE}={},{APP}={}", release.name, release.product.app())
}

/// The pods that a release had before the backup.
fn pods<'a>(restoring: &'a Restoring<'_>, release: &Release) -> Vec<&'a PodState> {
    let owned = |pod: &&PodState| {
        let rest = pod.name.strip_prefix(&release.deployment).and_then(|rest| rest.strip_prefix('-'));
        // A Deployment's pods are named by its ReplicaSet's hash and their own: two words, no more.
        pod.namespace == release.namespace && rest.is_some_and(|rest| rest.split('-').count() == 2)
    };
    restoring.backup.status.pods.before.iter().filter(owned).collect()
}
