//! A plan for people: what is held, what is cut, for how long at most, and what to know beforehand.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::Format;
use super::pods::pod_table;
use super::table::Table;
use crate::error::Error;
use crate::escape::escape_line;
use crate::plan::{Backend, Plan, Target, location};
use crate::pods::PodState;
use crate::record::API_VERSION;

/// The whole plan as text. `pods` is the first pod table.
pub fn plan(plan: &Plan, pods: &[PodState], now: Timestamp) -> String {
    let title = format!("plan of run {}: {} in {}", plan.run, plan.request, plan.namespace);
    let mut text = format!("{}\n\n", escape_line(&title));
    if !plan.targets.is_empty() {
        let how = if plan.is_cold() { "stopped" } else { "held" };
        let _ = writeln!(text, "{how}:\n{}", targets(plan));
    }
    if !plan.claims.is_empty() {
        let _ = writeln!(text, "cut:\n{}", claims(plan));
    }
    let _ = writeln!(text, "pods:\n{}", pod_table(pods, now));
    let watched = watched(plan, pods);
    if !watched.is_empty() {
        let _ = writeln!(text, "only watched: {}", escape_line(&watched.join(", ")));
    }
    let _ = writeln!(
        text,
        "budget: {} an attempt; {}; longest hold in all: {} ({} attempt{})",
        plain(plan.budget),
        match &plan.backend {
            Backend::Csi => format!("cuts are estimated to take {}", plain(plan.estimate)),
            Backend::Window { .. } if plan.detached => "held until `thaw`, nothing is copied".into(),
            Backend::Window { hold } => format!("held for {}, nothing is copied", plain(*hold)),
            Backend::Command { argv } => format!("held while this runs: {}", escape_line(&argv.join(" "))),
        },
        plain(plan.longest_hold()),
        plan.attempts,
        if plan.attempts == 1 { "" } else { "s" }
    );
    for line in location::lines(plan.claims.iter().map(|c| (c.location, c.driver.as_str()))) {
        let _ = writeln!(text, "{}", escape_line(&line));
    }
    for note in &plan.notes {
        let _ = writeln!(text, "note: {}", escape_line(note));
    }
    text
}

/// What `--dry-run` prints of a backup in this format; the plan for people is `text`.
pub fn dry_run(plan: &Plan, text: String, format: Format) -> Result<String, Error> {
    let pods = plan.targets.iter().map(|t| format!("pod/{}", t.pod));
    let names = pods.chain(plan.claims.iter().map(|c| format!("persistentvolumeclaim/{}", c.name)));
    document("BackupPlan", plan, names, text, format)
}

/// A plan as data, with the type that everything printed as JSON or YAML has; or the names of what would be touched.
pub(super) fn document(
    kind: &'static str,
    plan: &impl Serialize,
    names: impl Iterator<Item = String>,
    text: String,
    format: Format,
) -> Result<String, Error> {
    let document = || Document { api_version: API_VERSION, kind, plan };
    Ok(match format {
        Format::Json => super::json(&document())?,
        Format::Yaml => super::yaml(&document())?,
        Format::Name => {
            let mut once: Vec<String> = Vec::new();
            for name in names {
                // A pod may hold two databases.
                let name = escape_line(&name);
                if !once.contains(&name) {
                    once.push(name);
                }
            }
            once.join("\n")
        }
        Format::Table | Format::Wide => text,
    })
}

/// A plan with `apiVersion` and `kind`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a, P: Serialize> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    plan: &'a P,
}

fn targets(plan: &Plan) -> Table {
    let mut table =
        Table::new(["NAMESPACE", "POD", "CONTAINER", "ADAPTER", "VERSION", "ROLE", "HOLD", "DIRECTORY", "CLAIM"]);
    for target in &plan.targets {
        let hold = match (plan.is_cold(), target.probe.stops_commits) {
            (true, _) => "stopped",
            (false, true) => "full",
            (false, false) => "light",
        };
        table.row([
            target.namespace.clone(),
            target.pod.clone(),
            target.container.clone(),
            target.adapter.clone(),
            target.probe.version.clone(),
            target.probe.role.clone(),
            hold.into(),
            target.probe.data_dirs.join(","),
            claim_names(plan, target),
        ]);
    }
    table
}

fn claim_names(plan: &Plan, target: &Target) -> String {
    let claims = target.claims.iter().filter_map(|i| plan.claims.get(*i));
    claims.map(|c| c.name.as_str()).collect::<Vec<_>>().join(",")
}

fn claims(plan: &Plan) -> Table {
    let mut table = Table::new(["NAMESPACE", "CLAIM", "VOLUME", "DRIVER", "CLASS", "SIZE", "PODS"]);
    for claim in &plan.claims {
        table.row([
            claim.namespace.clone(),
            claim.name.clone(),
            claim.volume.clone(),
            claim.driver.clone(),
            claim.class.clone(),
            claim.request.clone(),
            claim.pods.join(","),
        ]);
    }
    table
}

/// Pods without a database and without a claim of the plan.
fn watched(plan: &Plan, pods: &[PodState]) -> Vec<String> {
    let held = plan.targets.iter().map(|t| (t.namespace.as_str(), t.pod.as_str()));
    let copied = plan.claims.iter().flat_map(|c| c.pods.iter().map(|p| (c.namespace.as_str(), p.as_str())));
    let used: BTreeSet<(&str, &str)> = held.chain(copied).collect();
    pods.iter()
        .filter(|p| !used.contains(&(p.namespace.as_str(), p.name.as_str())))
        .map(|p| format!("pod/{}", p.name))
        .collect()
}

/// `30s`, `1m30s`, `570ms`, `6.5s`: as a user would type it.
fn plain(d: Duration) -> String {
    let seconds = d.as_secs();
    match (seconds, d.subsec_millis()) {
        (0, millis) => format!("{millis}ms"),
        (60.., _) if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        (60.., _) => format!("{}m{}s", seconds / 60, seconds % 60),
        (_, 0) => format!("{seconds}s"),
        _ => format!("{:.1}s", d.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Claim, ContentAccess};
    use crate::quiescer::Probe;

    fn now() -> Timestamp {
        "2026-11-20T10:00:00Z".parse().unwrap()
    }

    fn pod(name: &str) -> PodState {
        PodState {
            namespace: "demo".into(),
            name: name.into(),
            uid: name.into(),
            phase: "Running".into(),
            status: "Running".into(),
            ready: "1/1".into(),
            restarts: 0,
            node: "n1".into(),
            images: Vec::new(),
            containers: Vec::new(),
            resource_version: String::new(),
            created: "2026-11-20T08:00:00Z".parse().ok(),
        }
    }

    fn example() -> Plan {
        Plan {
            run: "20261120-100000-x7k2".into(),
            created: now(),
            namespace: "demo".into(),
            request: "statefulset/redis".into(),
            selections: Vec::new(),
            targets: vec![Target {
                namespace: "demo".into(),
                pod: "redis-0".into(),
                pod_uid: "u".into(),
                container: "redis".into(),
                adapter: "redis".into(),
                probe: Probe {
                    version: "7.0.15".into(),
                    role: "master".into(),
                    stops_commits: true,
                    data_dirs: vec!["/data".into()],
                    ..Probe::default()
                },
                wave: 0,
                claims: vec![0],
                release: String::new(),
                endpoint: None,
            }],
            first_targets: None,
            replicas: Vec::new(),
            claims: vec![Claim {
                namespace: "demo".into(),
                name: "data-redis-0".into(),
                uid: "u".into(),
                volume: "pvc-1".into(),
                storage_class: None,
                request: "1Gi".into(),
                access_modes: Vec::new(),
                volume_mode: "Filesystem".into(),
                labels: std::collections::BTreeMap::new(),
                driver: "csi.example.com".into(),
                class: "fast".into(),
                deletion_policy: "Delete".into(),
                location: crate::plan::Location::Unknown,
                pods: vec!["redis-0".into()],
            }],
            unheld: Vec::new(),
            unheld_claims: Vec::new(),
            releases: Vec::new(),
            databases: Vec::new(),
            backend: crate::plan::Backend::Csi,
            guard_image: None,
            guard_pull_secret: None,
            detached: false,
            stopped: Vec::new(),
            workloads: Vec::new(),
            budget: Duration::from_secs(30),
            attempts: 3,
            pods_must_match: crate::pods::Match::State,
            cut_error_patience: Duration::from_secs(5),
            estimate: Duration::from_millis(570),
            contents: ContentAccess { read: true, change: true },
            notes: vec!["pod/redis-0: something".into()],
        }
    }

    #[test]
    fn a_plan_says_all_of_it() {
        assert_eq!(
            plan(&example(), &[pod("redis-0"), pod("web-0")], now()),
            "plan of run 20261120-100000-x7k2: statefulset/redis in demo\n\
             \n\
             held:\n\
             NAMESPACE   POD       CONTAINER   ADAPTER   VERSION   ROLE     HOLD   DIRECTORY   CLAIM\n\
             demo        redis-0   redis       redis     7.0.15    master   full   /data       data-redis-0\n\
             \n\
             cut:\n\
             NAMESPACE   CLAIM          VOLUME   DRIVER            CLASS   SIZE   PODS\n\
             demo        data-redis-0   pvc-1    csi.example.com   fast    1Gi    redis-0\n\
             \n\
             pods:\n\
             NAMESPACE   NAME      READY   STATUS    RESTARTS   AGE    NODE\n\
             demo        redis-0   1/1     Running   0          120m   n1\n\
             demo        web-0     1/1     Running   0          120m   n1\n\
             \n\
             only watched: pod/web-0\n\
             budget: 30s an attempt; cuts are estimated to take 570ms; longest hold in all: 1m30s (3 attempts)\n\
             the copies by csi.example.com may stay in the storage system of the claims: count them as lost with it\n\
             note: pod/redis-0: something\n"
        );
    }

    #[test]
    fn a_plan_as_data_says_what_it_is() {
        let printed = |format| dry_run(&example(), "text".into(), format).unwrap();
        let json: serde_json::Value = serde_json::from_str(&printed(Format::Json)).unwrap();
        assert_eq!((&json["apiVersion"], &json["kind"]), (&"consistent-backup/v1".into(), &"BackupPlan".into()));
        assert_eq!(json["targets"][0]["pod"], "redis-0");
        assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&printed(Format::Yaml)).unwrap(), json);
        assert!(printed(Format::Json).starts_with("{\n    \"apiVersion\""), "at the top");
        assert_eq!(printed(Format::Name), "pod/redis-0\npersistentvolumeclaim/data-redis-0");
        assert_eq!(printed(Format::Table), "text");
    }

    #[test]
    fn durations_are_plain() {
        for (millis, text) in [(570, "570ms"), (6500, "6.5s"), (30_000, "30s"), (90_000, "1m30s"), (120_000, "2m")] {
            assert_eq!(plain(Duration::from_millis(millis)), text);
        }
    }
}
