//! What to pause before a workload is restored that an operator manages.

use crate::typed::kubectl;

/// How the operator of this owner (`KIND.GROUP/NAME`) is told to leave its workloads alone.
pub(super) fn pause(owner: &str, namespace: &str) -> String {
    let group = owner.split('/').next().and_then(|kind| kind.split_once('.')).map_or("", |(_, group)| group);
    let patch = |spec: &str| {
        let patch = format!("{{\"spec\":{spec}}}");
        format!("`{}`", kubectl(&["patch", owner, "-n", namespace, "--type", "merge", "-p", &patch]))
    };
    let scale = |deployment: &str| format!("scale its operator's {deployment} to 0");
    match group {
        "postgresql.cnpg.io" => {
            format!("`{}`", kubectl(&["annotate", owner, "-n", namespace, "cnpg.io/reconciliationLoop=disabled"]))
        }
        "postgres-operator.crunchydata.com" => patch("{\"paused\":true}"),
        "k8s.mariadb.com" | "enterprise.mariadb.com" => patch("{\"suspend\":true}"),
        "acid.zalan.do" => scale("deployment (postgres-operator)"),
        "core.strimzi.io" => scale("deployment (strimzi-cluster-operator)"),
        // Its own `pause` would stop the pods and start them again by itself.
        percona if percona.ends_with("percona.com") => scale("deployment (percona-…-operator)"),
        // A Job's pod, a static one.
        "" | "batch" => format!("see that {owner} makes no pod meanwhile"),
        _ => format!("pause what reconciles {owner}: {}", scale("deployment")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_are_paused_in_their_own_way() {
        assert_eq!(
            pause("cluster.postgresql.cnpg.io/pg", "db"),
            "`kubectl annotate cluster.postgresql.cnpg.io/pg -n db cnpg.io/reconciliationLoop=disabled`"
        );
        assert_eq!(
            pause("postgrescluster.postgres-operator.crunchydata.com/hippo", "db"),
            "`kubectl patch postgrescluster.postgres-operator.crunchydata.com/hippo -n db --type merge -p \
             '{\"spec\":{\"paused\":true}}'`"
        );
        assert!(
            pause("cluster.postgresql.cnpg.io/$(x)", "d b")
                .contains("annotate 'cluster.postgresql.cnpg.io/$(x)' -n 'd b' ")
        );
        for (owner, part) in [
            ("postgresql.acid.zalan.do/pg", "postgres-operator"),
            ("perconaxtradbcluster.pxc.percona.com/c", "percona"),
            ("strimzipodset.core.strimzi.io/k", "strimzi-cluster-operator"),
            ("thing.example.com/x", "pause what reconciles thing.example.com/x: scale its operator's deployment to 0"),
            ("job.batch/dump", "see that job.batch/dump makes no pod meanwhile"),
        ] {
            assert!(pause(owner, "db").contains(part), "{}", pause(owner, "db"));
        }
    }
}
