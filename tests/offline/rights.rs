//! The page on rights: `--explain` prints it unchanged, its commands are ones that the program takes, and its policies are objects
//! that Kubernetes takes.

use clap::Parser;
use consistent_backup::cli::Cli;
use consistent_backup::labels;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use serde_json::Value;

use crate::support::plugin::Plugin;

const PAGE: &str = include_str!("../../src/cluster/access/rights.md");

/// The objects of the page, each as this type knows it and as it was written.
fn objects<T: serde::de::DeserializeOwned + serde::Serialize>(kind: &str) -> Vec<T> {
    let block = PAGE.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let all = block.split("---\n").map(|document| serde_saphyr::from_str::<Value>(document).unwrap());
    let of_kind = all.filter(|object| object["kind"] == kind);
    let read = |object: Value| {
        let read: T = serde_json::from_value(object.clone()).unwrap();
        // A field that Kubernetes does not know would be dropped without a word.
        assert_eq!(serde_json::to_value(&read).unwrap(), object);
        read
    };
    of_kind.map(read).collect()
}

#[test]
fn it_is_printed_without_a_cluster() {
    let printed = Plugin::new().args(["rbac", "--explain"]).run().done().stdout;
    assert_eq!(printed.trim_end(), PAGE.trim_end());
}

#[test]
fn its_policies_are_bound_and_name_only_fields_that_exist() {
    let policies: Vec<ValidatingAdmissionPolicy> = objects("ValidatingAdmissionPolicy");
    let bindings: Vec<ValidatingAdmissionPolicyBinding> = objects("ValidatingAdmissionPolicyBinding");
    assert_eq!((policies.len(), bindings.len()), (2, 2));
    for (policy, binding) in policies.iter().zip(&bindings) {
        let binding = &binding.spec;
        assert_eq!(Some(&binding.policy_name), policy.metadata.name.as_ref());
        assert_eq!(binding.validation_actions, ["Deny"]);
        let spec = policy.spec.as_ref().unwrap();
        assert_eq!(spec.failure_policy.as_deref(), Some("Fail"));
        assert!(spec.match_conditions.as_ref().unwrap()[0].expression.contains("request.userInfo.username"));
    }
}

#[test]
fn its_policies_know_what_a_run_makes_by_the_marks_that_a_run_gives() {
    for mark in [labels::MANAGED_BY.0, labels::MANAGED_BY.1, labels::ALIAS_OF] {
        assert!(PAGE.contains(&format!("'{mark}'")), "the page does not name {mark}");
    }
}

#[test]
fn its_options_are_ones_that_the_program_takes() {
    let options: Vec<&str> = PAGE.split('`').skip(1).step_by(2).filter(|code| code.starts_with("--for ")).collect();
    assert!(options.len() > 4, "{options:?}");
    for option in options.iter().filter(|option| !option.ends_with("COMMAND")) {
        let typed = ["kubectl-consistent_backup", "rbac"].into_iter().chain(option.split(' '));
        if let Err(error) = Cli::try_parse_from(typed) {
            panic!("{option}: {error}");
        }
    }
}
