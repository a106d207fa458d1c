//! The access review of a backup: every verb that it uses is asked for before anything is touched.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

use super::client::explain;
use crate::error::{Error, Refusal};
use crate::plan::access::backup::Questions;
use crate::plan::access::{CONTENTS, Place, Right};
use crate::plan::{ContentAccess, Request};

pub mod roles;

/// What a stolen role is worth, who must not write records, and a policy that narrows the role: `rbac --explain`.
pub const EXPLAINED: &str = include_str!("access/rights.md");

/// What the user may do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    denied: BTreeSet<Right>,
    required: BTreeSet<Right>,
    namespaces: Namespaces,
}

/// The namespaces that are asked about.
#[derive(Clone, Debug, Default)]
struct Namespaces {
    databases: String,
    record: String,
}

impl Namespaces {
    fn of(&self, place: Place) -> Option<&str> {
        match place {
            Place::Databases | Place::Elsewhere => Some(&self.databases),
            Place::Record => Some(&self.record),
            Place::Cluster => None,
        }
    }
}

impl Access {
    /// Asks for every verb of this backup where it is used. A user who may not even ask learns it by trying; by default
    /// everybody may.
    pub(super) async fn review(client: &kube::Client, request: &Request) -> Result<Self, Error> {
        let record = request.record_namespace.as_ref().unwrap_or(&request.namespace).clone();
        let namespaces = Namespaces { databases: request.namespace.clone(), record };
        Self::ask(client, namespaces, Questions::of_backup(request)).await
    }

    /// The same for a namespace in which a release is paused.
    pub(crate) async fn of_release(client: &kube::Client, namespace: &str, guard: bool) -> Result<Self, Error> {
        let namespaces = Namespaces { databases: namespace.into(), ..Namespaces::default() };
        Self::ask(client, namespaces, Questions::of_pause(guard)).await
    }

    /// Whether contents that a class with deletionPolicy Retain leaves may be deleted.
    pub(super) async fn of_retained(client: &kube::Client) -> Result<bool, Error> {
        let access = Self::ask(client, Namespaces::default(), Questions::of_retained()).await?;
        Ok(access.may("delete", CONTENTS))
    }

    async fn ask(client: &kube::Client, namespaces: Namespaces, questions: Questions) -> Result<Self, Error> {
        let Questions { required, asked } = questions;
        let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
        let answers = asked.into_iter().map(|right| {
            let review = review(right, namespaces.of(right.place));
            let api = &api;
            async move { (right, api.create(&PostParams::default(), &review).await) }
        });
        let mut denied = BTreeSet::new();
        for (right, answer) in join_all(answers).await {
            match answer {
                Ok(review) if review.status.as_ref().is_some_and(|s| s.allowed) => {}
                Ok(_) => {
                    denied.insert(right);
                }
                Err(e) if super::client::is_forbidden(&e) => {}
                Err(e) => {
                    return Err(Error::failed("permissions could not be asked for").cause(explain(&e)));
                }
            }
        }
        Ok(Self { denied, required, namespaces })
    }

    /// Whether this verb was not refused.
    pub(super) fn may(&self, verb: &str, resource: &str) -> bool {
        !self.denied.iter().any(|right| right.verb == verb && right.resource == resource)
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
        let mut missing: BTreeMap<(&str, &str, Place), Vec<&str>> = BTreeMap::new();
        for right in self.denied.intersection(&self.required) {
            missing.entry((right.resource, right.group, right.place)).or_default().push(right.verb);
        }
        let refusals = missing.into_iter().map(|((resource, group, place), verbs)| {
            let object = if group.is_empty() { resource.into() } else { format!("{resource}.{group}") };
            let namespace = self.namespaces.of(place);
            let wherever = namespace.map_or("in the cluster".into(), |namespace| format!("in namespace {namespace}"));
            Refusal::new(object, format!("you have no permission to {} them {wherever}", verbs.join(", ")))
                .hint(hint(resource))
        });
        refusals.collect()
    }
}

fn hint(resource: &str) -> &'static str {
    match resource {
        "persistentvolumes" => {
            "only the volume says by which driver a claim can be cut; \
             `kubectl consistent-backup rbac --for quiesce-snapshot` prints the rule"
        }
        "pods/portforward" => {
            "`kubectl consistent-backup rbac --for quiesce-snapshot --platform scalar` prints all rules that are needed"
        }
        _ => "`kubectl consistent-backup rbac --for quiesce-snapshot` prints all rules that are needed",
    }
}

/// One question to the API server.
fn review(right: Right, namespace: Option<&str>) -> SelfSubjectAccessReview {
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, sub)) => (resource, Some(sub.to_owned())),
        None => (right.resource, None),
    };
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(right.group.into()),
                resource: Some(resource.into()),
                subresource,
                verb: Some(right.verb.into()),
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request as Sent, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;
    use crate::plan::access::{Command, Purpose};

    fn request(objects: &[&str]) -> Request {
        let objects: Vec<String> = objects.iter().map(|typed| (*typed).to_owned()).collect();
        Request::new("demo", &objects, None).unwrap()
    }

    /// Asks an API server that denies these verbs; what was asked, as rights.
    async fn asked(request: &Request, denied: &[(&str, &str)]) -> (Access, BTreeSet<Right>) {
        let denied: Vec<(String, String)> = denied.iter().map(|(v, r)| ((*v).to_owned(), (*r).to_owned())).collect();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heard = seen.clone();
        let service = service_fn(move |sent: Sent<Body>| {
            let (denied, heard) = (denied.clone(), heard.clone());
            async move {
                let body = sent.into_body().collect_bytes().await.unwrap();
                let mut review: Value = serde_json::from_slice(&body).unwrap();
                let of = review["spec"]["resourceAttributes"].clone();
                let text = |key: &str| of[key].as_str().unwrap_or_default().to_owned();
                let resource = match text("subresource").as_str() {
                    "" => text("resource"),
                    sub => format!("{}/{sub}", text("resource")),
                };
                let allowed = !denied.contains(&(text("verb"), resource.clone()));
                heard.lock().unwrap().push((text("namespace"), text("group"), resource, text("verb")));
                review["status"] = json!({"allowed": allowed});
                Ok::<_, kube::Error>(Response::new(Body::from(review.to_string().into_bytes())))
            }
        });
        let access = Access::review(&kube::Client::new(service, "demo"), request).await.unwrap();
        let seen: BTreeSet<(String, String, String, String)> = seen.lock().unwrap().iter().cloned().collect();
        // Every right that a backup may have, found again in what was asked: no text of the server's becomes a right.
        let all = Purpose { scalar: true, guard: true, retain: true, ..of_backup() }.rights();
        let place = |place: Place| match place {
            Place::Databases | Place::Elsewhere => "demo",
            Place::Record => request.record_namespace.as_deref().unwrap_or("demo"),
            Place::Cluster => "",
        };
        let text =
            |r: &Right| (place(r.place).to_owned(), r.group.to_owned(), r.resource.to_owned(), r.verb.to_owned());
        let known: BTreeSet<_> = all.iter().map(text).collect();
        assert!(seen.is_subset(&known), "asked, and printed nowhere: {:?}", seen.difference(&known));
        (access, all.into_iter().filter(|right| seen.contains(&text(right))).collect())
    }

    fn of_backup() -> Purpose {
        Purpose { commands: [Command::QuiesceSnapshot].into(), ..Purpose::default() }
    }

    async fn refused(denied: &[(&str, &str)], objects: &[&str]) -> Vec<String> {
        let (access, _) = asked(&request(objects), denied).await;
        access.refusals().into_iter().map(|r| format!("{}: {}", r.object, r.message)).collect()
    }

    #[tokio::test]
    async fn the_rows_printed_for_a_backup_are_the_questions_of_its_preflight() {
        let apart = Request { record_namespace: Some("records".into()), ..request(&["sts/a"]) };
        let (_, asked) = asked(&apart, &[]).await;
        let printed = of_backup().rights();
        let unasked: Vec<String> =
            printed.difference(&asked).map(|right| format!("{} {}", right.verb, right.resource)).collect();
        // A backup without events is the same.
        assert_eq!(unasked, ["create events", "patch events"]);
        assert_eq!(asked.difference(&printed).collect::<Vec<_>>(), Vec::<&Right>::new());
    }

    #[tokio::test]
    async fn records_are_only_written_in_their_own_namespace() {
        let apart = Request { record_namespace: Some("records".into()), ..request(&["sts/a"]) };
        let (access, _) = asked(&apart, &[("create", "configmaps"), ("get", "configmaps")]).await;
        let refusals: Vec<String> =
            access.refusals().into_iter().map(|r| format!("{}: {}", r.object, r.message)).collect();
        assert_eq!(refusals, ["configmaps: you have no permission to create, get them in namespace records"]);
    }

    #[tokio::test]
    async fn missing_verbs_are_refused_together() {
        assert_eq!(
            refused(&[("get", "pods/exec"), ("create", "pods/exec"), ("get", "persistentvolumes")], &["po/a"]).await,
            [
                "persistentvolumes: you have no permission to get them in the cluster",
                "pods/exec: you have no permission to create, get them in namespace demo",
            ]
        );
        assert_eq!(
            refused(&[("patch", "leases")], &["po/a"]).await,
            ["leases.coordination.k8s.io: you have no permission to patch them in namespace demo"]
        );
    }

    #[tokio::test]
    async fn what_a_backup_can_do_without_is_no_refusal() {
        let denied = [("get", CONTENTS), ("patch", CONTENTS), ("get", "namespaces"), ("patch", "persistentvolumes")];
        let pod = request(&["po/a"]);
        let (access, _) = asked(&pod, &denied).await;
        assert!(access.refusals().is_empty());
        assert_eq!(access.contents(), ContentAccess { read: false, change: false });
        assert_eq!(asked(&pod, &[]).await.0.contents(), ContentAccess { read: true, change: true });
        assert!(!access.may("get", CONTENTS));
    }

    #[tokio::test]
    async fn only_the_named_types_are_needed() {
        let denied = [("get", "statefulsets"), ("list", "replicasets")];
        assert!(refused(&denied, &["po/a"]).await.is_empty());
        assert_eq!(refused(&denied, &["sts/a"]).await.len(), 1);
        assert_eq!(refused(&denied, &["deploy/a"]).await.len(), 1);
    }

    #[test]
    fn a_subresource_is_asked_as_one() {
        let right = Right { place: Place::Databases, group: "", resource: "pods/exec", verb: "get" };
        let attributes = review(right, Some("demo")).spec.resource_attributes.unwrap();
        assert_eq!((attributes.resource.as_deref(), attributes.subresource.as_deref()), (Some("pods"), Some("exec")));
        assert_eq!(attributes.namespace.as_deref(), Some("demo"));
    }
}
