//! Every verb that this program uses, in one table: asked for before anything is touched, and printed as a Role.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::{Api, ObjectMeta, PostParams};

use super::client::explain;
use crate::error::{Error, Refusal};
use crate::plan::{Backend, ContentAccess, Kind, Request};

/// What may be done with one kind of object, and what for.
struct Rule {
    group: &'static str,
    /// With a subresource: `pods/exec`.
    resource: &'static str,
    verbs: &'static [&'static str],
    scope: Scope,
    need: Need,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Namespace,
    Cluster,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Need {
    /// No backup without it.
    Backup,
    /// No backup without it that makes copies of claims.
    Copy,
    /// No backup without it whose databases are held by commands in their pods.
    Command,
    /// No pause of a release without it.
    Pause,
    /// A backup without it knows or keeps less, and says so.
    Useful,
    /// A backup without it is the same; nobody asks beforehand.
    Said,
    /// Only a restore, or a verification, uses it.
    Restore,
}

const SNAPSHOTS: &str = "snapshot.storage.k8s.io";

/// An exec is a GET that is upgraded to a WebSocket, so it needs `get`; from Kubernetes 1.35 `create` is asked as well.
const RULES: &[Rule] = &[
    rule("", "pods", &["get", "list"], Scope::Namespace, Need::Backup),
    rule("", "pods/exec", &["get", "create"], Scope::Namespace, Need::Command),
    rule("", "pods/portforward", &["get", "create"], Scope::Namespace, Need::Pause),
    rule("", "configmaps", &["create", "get", "list", "patch", "delete"], Scope::Namespace, Need::Backup),
    rule("coordination.k8s.io", "leases", &["create", "get", "patch", "delete"], Scope::Namespace, Need::Backup),
    rule("", "persistentvolumeclaims", &["get", "list"], Scope::Namespace, Need::Copy),
    rule(SNAPSHOTS, "volumesnapshots", &["create", "get", "list", "delete"], Scope::Namespace, Need::Copy),
    rule("apps", "statefulsets", &["get"], Scope::Namespace, Need::Useful),
    rule("apps", "deployments", &["get"], Scope::Namespace, Need::Useful),
    rule("apps", "deployments", &["list"], Scope::Namespace, Need::Pause),
    rule("apps", "daemonsets", &["get"], Scope::Namespace, Need::Useful),
    rule("apps", "replicasets", &["get", "list"], Scope::Namespace, Need::Useful),
    rule("", "services", &["list"], Scope::Namespace, Need::Useful),
    rule("", "persistentvolumeclaims", &["create", "delete"], Scope::Namespace, Need::Restore),
    rule("", "pods", &["create", "delete"], Scope::Namespace, Need::Restore),
    // Why a server does not recover stands in its log; nobody asks beforehand.
    rule("", "pods/log", &["get"], Scope::Namespace, Need::Restore),
    rule("", "resourcequotas", &["list"], Scope::Namespace, Need::Restore),
    rule("autoscaling", "horizontalpodautoscalers", &["list"], Scope::Namespace, Need::Restore),
    rule("policy", "poddisruptionbudgets", &["list"], Scope::Namespace, Need::Restore),
    rule("apps", "statefulsets", &["patch"], Scope::Namespace, Need::Restore),
    rule("apps", "deployments", &["patch"], Scope::Namespace, Need::Restore),
    rule("apps", "replicasets", &["patch"], Scope::Namespace, Need::Restore),
    rule("", "pods", &["patch"], Scope::Namespace, Need::Restore),
    rule("", "services", &["create", "get"], Scope::Namespace, Need::Restore),
    rule("", "serviceaccounts", &["get"], Scope::Namespace, Need::Restore),
    rule("apps", "statefulsets", &["create"], Scope::Namespace, Need::Restore),
    rule("apps", "deployments", &["create"], Scope::Namespace, Need::Restore),
    rule("apps", "replicasets", &["create"], Scope::Namespace, Need::Restore),
    rule("events.k8s.io", "events", &["create", "patch"], Scope::Namespace, Need::Said),
    rule("", "namespaces", &["get"], Scope::Cluster, Need::Useful),
    rule("", "persistentvolumes", &["get"], Scope::Cluster, Need::Copy),
    rule(SNAPSHOTS, "volumesnapshotclasses", &["list"], Scope::Cluster, Need::Copy),
    rule(SNAPSHOTS, CONTENTS, &["get", "list", "watch", "patch", "delete"], Scope::Cluster, Need::Useful),
    rule(SNAPSHOTS, CONTENTS, &["create"], Scope::Cluster, Need::Restore),
    rule("", "persistentvolumes", &["patch"], Scope::Cluster, Need::Restore),
    rule("storage.k8s.io", "storageclasses", &["get"], Scope::Cluster, Need::Restore),
    rule("storage.k8s.io", "volumeattachments", &["list"], Scope::Cluster, Need::Restore),
];

const CONTENTS: &str = "volumesnapshotcontents";

const fn rule(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    scope: Scope,
    need: Need,
) -> Rule {
    Rule { group, resource, verbs, scope, need }
}

/// One question to the API server, and what is not allowed afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    group: &'static str,
    resource: &'static str,
    verb: &'static str,
    cluster: bool,
}

/// What the user may do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    denied: BTreeSet<Question>,
    required: BTreeSet<Question>,
    namespace: String,
}

impl Access {
    /// Asks for every verb of this backup in its namespace. Who may not even ask (nobody, by default) finds out by trying.
    pub(super) async fn review(client: &kube::Client, request: &Request) -> Result<Self, Error> {
        let (required, asked) = questions(&Wanted::of(request));
        Self::ask(client, &request.namespace, required, asked).await
    }

    /// The same for a namespace in which a release is paused.
    pub(crate) async fn of_release(client: &kube::Client, namespace: &str, guard: bool) -> Result<Self, Error> {
        let used = |rule: &&Rule| {
            rule.scope == Scope::Namespace
                && match rule.resource {
                    // The guard is a pod that is made and deleted.
                    "pods" => rule.need < Need::Restore || (guard && rule.verbs.contains(&"create")),
                    "leases" | "services" => rule.need < Need::Restore,
                    _ => rule.need == Need::Pause,
                }
        };
        let required: BTreeSet<Question> = RULES.iter().filter(used).flat_map(Rule::questions).collect();
        Self::ask(client, namespace, required.clone(), required).await
    }

    /// The same for a namespace in which only the record lies.
    pub(super) async fn of_record(client: &kube::Client, namespace: &str) -> Result<Self, Error> {
        let (required, _) = questions(&Wanted::default());
        let required: BTreeSet<Question> = required.into_iter().filter(|q| q.resource == "configmaps").collect();
        Self::ask(client, namespace, required.clone(), required).await
    }

    async fn ask(
        client: &kube::Client,
        namespace: &str,
        required: BTreeSet<Question>,
        asked: BTreeSet<Question>,
    ) -> Result<Self, Error> {
        let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
        let answers = asked.into_iter().map(|question| {
            let api = &api;
            async move {
                let review = question.review(namespace);
                let answer = api.create(&PostParams::default(), &review).await;
                (question, answer)
            }
        });
        let mut denied = BTreeSet::new();
        for (question, answer) in join_all(answers).await {
            match answer {
                Ok(review) if review.status.as_ref().is_some_and(|s| s.allowed) => {}
                Ok(_) => {
                    denied.insert(question);
                }
                Err(e) if super::client::is_forbidden(&e) => {}
                Err(e) => {
                    return Err(Error::failed("permissions could not be asked for").cause(explain(&e)));
                }
            }
        }
        Ok(Self { denied, required, namespace: namespace.into() })
    }

    /// Whether this verb was not refused.
    pub(super) fn may(&self, verb: &str, resource: &str) -> bool {
        !self.denied.iter().any(|q| q.verb == verb && q.resource == resource)
    }

    /// What may be done with contents.
    pub(super) fn contents(&self) -> ContentAccess {
        ContentAccess {
            read: ["get", "list", "watch"].iter().all(|verb| self.may(verb, CONTENTS)),
            change: self.may("patch", CONTENTS),
        }
    }

    /// One refusal for each kind of object, with the missing verbs.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        let mut missing: BTreeMap<(&str, &str, bool), Vec<&str>> = BTreeMap::new();
        for q in self.denied.intersection(&self.required) {
            missing.entry((q.resource, q.group, q.cluster)).or_default().push(q.verb);
        }
        let refusals = missing.into_iter().map(|((resource, group, cluster), verbs)| {
            let object = if group.is_empty() { resource.into() } else { format!("{resource}.{group}") };
            let place = if cluster { "in the cluster".into() } else { format!("in namespace {}", self.namespace) };
            Refusal::new(object, format!("you have no permission to {} them {place}", verbs.join(", ")))
                .hint(hint(resource))
        });
        refusals.collect()
    }
}

fn hint(resource: &str) -> &'static str {
    match resource {
        "persistentvolumes" => {
            "only the volume says by which driver a claim can be cut; `kubectl consistent-backup rbac` prints the rule"
        }
        _ => "`kubectl consistent-backup rbac` prints all rules that are needed",
    }
}

/// What of a request decides what it needs.
#[derive(Default)]
struct Wanted {
    /// The types of the named objects.
    kinds: BTreeSet<Kind>,
    /// Claims are copied.
    copies: bool,
    /// Databases may be held by commands in their pods.
    commands: bool,
}

impl Wanted {
    fn of(request: &Request) -> Self {
        Self {
            kinds: request.objects.iter().map(|o| o.kind).collect(),
            copies: request.backend == Backend::Csi,
            commands: !request.objects.is_empty() || request.selector.is_some(),
        }
    }

    fn needs(&self, need: Need) -> bool {
        match need {
            Need::Backup => true,
            Need::Copy => self.copies,
            Need::Command => self.commands,
            _ => false,
        }
    }
}

/// What a backup cannot do without, and everything that is asked.
fn questions(wanted: &Wanted) -> (BTreeSet<Question>, BTreeSet<Question>) {
    let (mut required, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for rule in RULES.iter().filter(|r| r.need == Need::Useful || wanted.needs(r.need)) {
        // The pods of a Deployment are found through its ReplicaSets.
        let named = wanted.kinds.iter().any(|kind| {
            kind.plural() == rule.resource || (*kind == Kind::Deployment && rule.resource == Kind::ReplicaSet.plural())
        });
        for question in rule.questions() {
            asked.insert(question);
            if wanted.needs(rule.need) || (named && rule.group == "apps") {
                required.insert(question);
            }
        }
    }
    (required, asked)
}

impl Rule {
    fn questions(&self) -> impl Iterator<Item = Question> {
        let cluster = self.scope == Scope::Cluster;
        self.verbs.iter().map(move |verb| Question { group: self.group, resource: self.resource, verb, cluster })
    }
}

impl Question {
    fn review(self, namespace: &str) -> SelfSubjectAccessReview {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, sub)) => (resource, Some(sub.to_owned())),
            None => (self.resource, None),
        };
        SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(self.group.into()),
                    resource: Some(resource.into()),
                    subresource,
                    verb: Some(self.verb.into()),
                    namespace: (!self.cluster).then(|| namespace.into()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        }
    }
}

/// A Role and a ClusterRole with exactly these verbs, as YAML; without `restore` those of backups only. A namespace that
/// was given stands in the Role: applied as it is, it would else land in the context's.
pub fn roles(restore: bool, namespace: Option<&str>) -> String {
    let metadata = || ObjectMeta { name: Some("consistent-backup".into()), ..ObjectMeta::default() };
    let of_role = ObjectMeta { namespace: namespace.map(str::to_owned), ..metadata() };
    let role = Role { metadata: of_role, rules: Some(policy(Scope::Namespace, restore)) };
    let cluster =
        ClusterRole { metadata: metadata(), rules: Some(policy(Scope::Cluster, restore)), ..ClusterRole::default() };
    // Plain maps and lists of texts: there is nothing in them that YAML could not say.
    let role = serde_saphyr::to_string(&role).unwrap_or_default();
    let cluster = serde_saphyr::to_string(&cluster).unwrap_or_default();
    format!("{}\n---\n{}\n", role.trim_end(), cluster.trim_end())
}

/// One rule for each kind of object, in the table's order.
fn policy(scope: Scope, restore: bool) -> Vec<PolicyRule> {
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in RULES.iter().filter(|r| r.scope == scope && (restore || r.need != Need::Restore)) {
        let verbs = rule.verbs.iter().map(|&v| v.to_owned());
        let resources = Some(vec![rule.resource.to_owned()]);
        let groups = Some(vec![rule.group.to_owned()]);
        match rules.iter_mut().find(|r| r.resources == resources && r.api_groups == groups) {
            Some(same) => same.verbs.extend(verbs),
            None => rules.push(PolicyRule {
                api_groups: groups,
                resources,
                verbs: verbs.collect(),
                ..PolicyRule::default()
            }),
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::restore::access::{aliases, anew, copies, in_place, verify};

    fn access(denied: &[(&str, &str)], kinds: &[Kind]) -> Access {
        let wanted = Wanted { kinds: kinds.iter().copied().collect(), copies: true, commands: true };
        let (required, asked) = questions(&wanted);
        let is_denied = |q: &Question| denied.contains(&(q.verb, q.resource));
        Access { denied: asked.into_iter().filter(is_denied).collect(), required, namespace: "demo".into() }
    }

    fn refused(denied: &[(&str, &str)], kinds: &[Kind]) -> Vec<String> {
        let refusals = access(denied, kinds).refusals();
        refusals.into_iter().map(|r| format!("{}: {}", r.object, r.message)).collect()
    }

    #[test]
    fn missing_verbs_are_refused_together() {
        assert_eq!(
            refused(&[("get", "pods/exec"), ("create", "pods/exec"), ("get", "persistentvolumes")], &[]),
            [
                "persistentvolumes: you have no permission to get them in the cluster",
                "pods/exec: you have no permission to create, get them in namespace demo",
            ]
        );
        assert_eq!(
            refused(&[("patch", "leases")], &[]),
            ["leases.coordination.k8s.io: you have no permission to patch them in namespace demo"]
        );
    }

    #[test]
    fn what_a_backup_can_do_without_is_no_refusal() {
        let denied = [("get", CONTENTS), ("patch", CONTENTS), ("get", "namespaces"), ("patch", "persistentvolumes")];
        assert!(refused(&denied, &[]).is_empty());
        assert_eq!(access(&denied, &[]).contents(), ContentAccess { read: false, change: false });
        assert_eq!(access(&[], &[]).contents(), ContentAccess { read: true, change: true });
        assert!(!access(&denied, &[]).may("get", CONTENTS));
    }

    #[test]
    fn only_the_named_types_are_needed() {
        let denied = [("get", "statefulsets"), ("list", "replicasets")];
        assert!(refused(&denied, &[Kind::Pod]).is_empty());
        assert_eq!(refused(&denied, &[Kind::StatefulSet]).len(), 1);
        assert_eq!(refused(&denied, &[Kind::Deployment]).len(), 1);
    }

    #[test]
    fn a_subresource_is_asked_as_one() {
        let question = Question { group: "", resource: "pods/exec", verb: "get", cluster: false };
        let attributes = question.review("demo").spec.resource_attributes.unwrap();
        assert_eq!((attributes.resource.as_deref(), attributes.subresource.as_deref()), (Some("pods"), Some("exec")));
        assert_eq!(attributes.namespace.as_deref(), Some("demo"));
    }

    #[test]
    fn roles_hold_all_that_a_restore_asks_for() {
        let kinds = ["StatefulSet", "Deployment", "ReplicaSet", "Pod"].map(str::to_owned).into();
        let namespaces = ["demo".to_owned()].into();
        let of_copies = [
            copies(&namespaces),
            anew(&namespaces, &kinds),
            aliases(&namespaces),
            verify(&namespaces, Some("two"), "demo"),
        ];
        for needed in of_copies.concat().into_iter().chain(in_place(&namespaces, &kinds)) {
            let scope = if needed.namespace.is_some() { Scope::Namespace } else { Scope::Cluster };
            let granted = RULES.iter().any(|r| {
                (r.group, r.resource, r.scope == scope) == (needed.group, needed.resource, true)
                    && r.verbs.contains(&needed.verb)
            });
            assert!(granted, "{} {}", needed.verb, needed.resource);
        }
    }

    #[test]
    fn roles_hold_the_table() {
        let (all, backup) = (roles(true, None), roles(false, None));
        let read = |text: &str| -> Vec<serde_json::Value> {
            text.split("---\n").map(|doc| serde_saphyr::from_str(doc).unwrap()).collect()
        };
        let kinds: Vec<_> = read(&all).iter().map(|d| d["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds, ["Role", "ClusterRole"]);
        let verbs = |docs: &[serde_json::Value], doc: usize, resource: &str| -> String {
            let rules = docs[doc]["rules"].as_array().unwrap();
            let rule = rules.iter().find(|r| r["resources"][0] == resource).unwrap();
            rule["verbs"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(verbs(&read(&backup), 0, "persistentvolumeclaims"), "get list");
        assert_eq!(verbs(&read(&all), 0, "persistentvolumeclaims"), "get list create delete");
        assert_eq!(verbs(&read(&backup), 0, "pods"), "get list");
        assert_eq!(verbs(&read(&all), 0, "pods"), "get list create delete patch");
        assert_eq!(verbs(&read(&backup), 0, "pods/exec"), "get create");
        assert_eq!(verbs(&read(&all), 1, "persistentvolumes"), "get patch");
        assert!(!backup.contains("storageclasses") && all.contains("storageclasses"));
    }
}
