//! Pod tables: one as kubectl prints it, and two beside each other where they differ.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::age::age;
use super::table::Table;
use crate::pods::{PodState, differences};

const HEADINGS: [&str; 7] = ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "NODE"];

/// One table of pods, in the order given.
pub fn pod_table(pods: &[PodState], now: Timestamp) -> String {
    let mut table = Table::new(HEADINGS);
    for pod in pods {
        table.row(cells(pod, now));
    }
    table.to_string()
}

/// Each pod that differs, before and after, with what differs; or one line that says that none does.
pub fn pod_changes(before: &[PodState], after: &[PodState], now: Timestamp) -> String {
    let mut changed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for d in differences(before, after) {
        let what = match (d.field.as_str(), d.before) {
            ("pod", None) => "added".into(),
            ("pod", Some(_)) => "removed".into(),
            (field, _) => field.into(),
        };
        changed.entry(d.pod).or_default().push(what);
    }
    if changed.is_empty() {
        return format!("pods: unchanged ({})\n", after.len());
    }
    let mut headings = vec!["WHEN"];
    headings.extend(HEADINGS);
    headings.push("CHANGED");
    let mut table = Table::new(headings);
    for (path, what) in &changed {
        for (when, pods) in [("before", before), ("after", after)] {
            if let Some(pod) = pods.iter().find(|p| p.path() == *path) {
                let mut row = vec![when.to_owned()];
                row.extend(cells(pod, now));
                row.push(what.join(","));
                table.row(row);
            }
        }
    }
    let same = after.iter().filter(|p| !changed.contains_key(&p.path()));
    format!("pods: {} changed, {} unchanged\n{table}", changed.len(), same.count())
}

fn cells(pod: &PodState, now: Timestamp) -> [String; 7] {
    [
        pod.namespace.clone(),
        pod.name.clone(),
        pod.ready.clone(),
        pod.status.clone(),
        pod.restarts.to_string(),
        age(pod.created, now),
        pod.node.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: &str) -> PodState {
        PodState {
            namespace: "demo".into(),
            name: name.into(),
            uid: uid.into(),
            phase: "Running".into(),
            status: "Running".into(),
            ready: "1/1".into(),
            restarts: 0,
            node: "n1".into(),
            images: vec!["db:1".into()],
            containers: vec![format!("x://{uid}")],
            resource_version: String::new(),
            created: "2026-11-20T08:00:00Z".parse().ok(),
        }
    }

    fn now() -> Timestamp {
        "2026-11-20T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_table_as_kubectl_prints_it() {
        let pending = PodState {
            status: "Pending".into(),
            ready: "0/1".into(),
            node: String::new(),
            resource_version: String::new(),
            created: None,
            ..pod("mysql-0", "2")
        };
        assert_eq!(
            pod_table(&[pod("postgres-0", "1"), pending], now()),
            "NAMESPACE   NAME         READY   STATUS    RESTARTS   AGE         NODE\n\
             demo        postgres-0   1/1     Running   0          120m        n1\n\
             demo        mysql-0      0/1     Pending   0          <unknown>   <none>\n"
        );
    }

    #[test]
    fn unchanged_pods_are_one_line() {
        let pods = [pod("a", "1"), pod("b", "2")];
        assert_eq!(pod_changes(&pods, &pods, now()), "pods: unchanged (2)\n");
    }

    #[test]
    fn changed_pods_stand_below_each_other() {
        let before = [pod("a", "1"), pod("b", "2"), pod("c", "3")];
        let after = [pod("a", "1"), PodState { restarts: 1, ..pod("b", "9") }, pod("d", "4")];
        assert_eq!(
            pod_changes(&before, &after, now()),
            "pods: 3 changed, 1 unchanged\n\
             WHEN     NAMESPACE   NAME   READY   STATUS    RESTARTS   AGE    NODE   CHANGED\n\
             before   demo        b      1/1     Running   0          120m   n1     uid,restarts,containers\n\
             after    demo        b      1/1     Running   1          120m   n1     uid,restarts,containers\n\
             before   demo        c      1/1     Running   0          120m   n1     removed\n\
             after    demo        d      1/1     Running   0          120m   n1     added\n"
        );
    }
}
