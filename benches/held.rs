//! How long databases are held, beside what it must take and beside what others wait for.
//!
//! `cargo bench --bench held [-- RUNS]`, on the cluster of `tests/cluster/up`. For each group, in seconds:
//!
//! * HELD: from the hold sent to the thaw answered, the longest of the group, out of the record. A light hold
//!   (PostgreSQL) stops nothing and counts as 0.
//! * WINDOW: every target held and flushed, out of the record.
//! * CUT: from the start of the window to the last cut, by the storage's own clock: what nobody can undercut.
//! * PROVED: from the start of the window to the last proof seen by the plugin, on the content.
//! * CONTENT, SNAPSHOT, READY: the same claims cut by plain VolumeSnapshots: from their creation until the last
//!   content bears handle and time, until the last VolumeSnapshot bears its own creationTime, until the last is ready.
//!   Whoever waits for the second or the third holds the databases for so long.
//!
//! Controller and sidecar run with their default limits (5 requests a second, 10 at once): between two measurements
//! they get the time to be idle again, or each would pay for the one before.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints what it measured")]

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "held/plain.rs"]
mod plain;

use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use support::cluster;
use support::database::{Database, Kind};
use support::plugin::{list, outcome_is, run_of, text};
use support::scene::Scene;
use support::wait::{seconds, until_none};

/// What one backup took, in seconds.
struct Measured {
    held: f64,
    window: f64,
    cut: f64,
    proved: f64,
}

/// What one group took, run by run.
#[derive(Default)]
struct Group {
    name: &'static str,
    columns: [Vec<f64>; 7],
}

const COLUMNS: [&str; 7] = ["HELD", "WINDOW", "CUT", "PROVED", "CONTENT", "SNAPSHOT", "READY"];
const IDLE: Duration = Duration::from_secs(4);

fn main() {
    let runs = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(5);
    let mut groups = Vec::new();
    {
        let scene = Scene::alone("bench", &Kind::ALL.map(Database::new));
        for kind in Kind::ALL {
            groups.push(group(kind.name(), &scene, &[kind], &[kind.claim()], runs));
        }
        let claims = Kind::ALL.map(Kind::claim);
        groups.push(group("all three", &scene, &Kind::ALL, &claims, runs));
    }
    {
        let scene = Scene::alone("bench-ten", &[ten_of_redis()]);
        let claims: Vec<String> = (0..10).map(|n| format!("data-redis-{n}")).collect();
        groups.push(group("10 Redis", &scene, &[Kind::Redis], &claims, runs));
    }
    print(&groups, runs);
}

fn ten_of_redis() -> Database {
    Database::new(Kind::Redis).idle().edit(|set| {
        set["spec"]["replicas"] = json!(10);
        set["spec"]["podManagementPolicy"] = json!("Parallel");
        set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] = json!("64Mi");
    })
}

fn group(name: &'static str, scene: &Scene, kinds: &[Kind], claims: &[String], runs: usize) -> Group {
    let mut group = Group { name, ..Group::default() };
    for run in 0..runs {
        // In turn, so that neither always runs on the warmer machine.
        let backup = measured(scene, kinds, claims.len());
        sleep(IDLE);
        let plain = plain::measured(scene, claims);
        sleep(IDLE);
        let values = [
            backup.held,
            backup.window,
            backup.cut,
            backup.proved,
            plain.content.as_secs_f64(),
            plain.snapshot.as_secs_f64(),
            plain.ready.as_secs_f64(),
        ];
        for (column, value) in group.columns.iter_mut().zip(values) {
            column.push(value);
        }
        eprintln!("{name}, run {} of {runs}: held {:.3} s", run + 1, backup.held);
    }
    group
}

fn measured(scene: &Scene, kinds: &[Kind], claims: usize) -> Measured {
    let record = scene.backup_of(kinds, &["--quiesce-budget", "60s"]).run().done().json();
    outcome_is(&record, "ApplicationConsistent");
    let cuts = list(&record, "/status/claims");
    assert_eq!(cuts.len(), claims);
    let window = &record["status"]["window"];
    let start = time(window, "start");
    let skew = window["clientSkewSeconds"].as_f64().unwrap();
    let last = |times: &mut dyn Iterator<Item = f64>| times.fold(0.0, f64::max);
    let measured = Measured {
        held: last(&mut list(&record, "/status/targets").iter().map(|t| t["heldSeconds"].as_f64().unwrap())),
        window: window["seconds"].as_f64().unwrap(),
        // The storage's clock is this machine's; the window's is the server's as the plugin knows it.
        cut: last(&mut cuts.iter().map(|claim| {
            let stored = cluster::stored_snapshot(text(claim, "/handle")).unwrap();
            time(&stored, "cutEnd") - (start + skew)
        })),
        proved: last(&mut cuts.iter().map(|claim| time(claim, "provedAt") - start)),
    };
    scene.plugin(&["delete", &run_of(&record), "--yes"]).run().done();
    until_none("the snapshots to be gone", seconds(120), || support::leftovers::unnamed(scene));
    measured
}

#[allow(clippy::cast_precision_loss, reason = "a microsecond does not matter")]
fn time(object: &Value, field: &str) -> f64 {
    let time: Timestamp = object[field].as_str().unwrap().parse().unwrap();
    time.as_nanosecond() as f64 / 1e9
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(values: &[f64]) -> f64 {
    sorted(values)[values.len() / 2]
}

fn print(groups: &[Group], runs: usize) {
    println!("\nseconds, median (least-most) of {runs} runs");
    print!("{:<10}", "");
    for column in &COLUMNS {
        print!("  {column:>18}");
    }
    println!();
    for group in groups {
        print!("{:<10}", group.name);
        for column in &group.columns {
            let all = sorted(column);
            let shown = format!("{:.2} ({:.2}-{:.2})", median(column), all[0], all[all.len() - 1]);
            print!("  {shown:>18}");
        }
        println!();
    }
    println!("\nratios of the medians");
    for group in groups {
        let [held, window, cut, proved, content, snapshot, ready] = group.columns.each_ref().map(|c| median(c));
        // A light hold has no length: its window is what waiting would make longer.
        let (what, ours) = if held > 0.0 { ("held", held) } else { ("window", window) };
        println!(
            "{:<10}  {what} / cut {:.1}   {what} / proof seen {:.2}   proof seen / content {:.2}   \
             snapshot's time / {what} {:.1}   ready / {what} {:.1}",
            group.name,
            ours / cut,
            ours / proved,
            proved / content,
            snapshot / ours,
            ready / ours
        );
    }
}
