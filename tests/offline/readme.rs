//! README is the manual: its commands must be ones that the program takes, and its tables must say what it does.

use clap::{CommandFactory, Parser};
use consistent_backup::cli::Cli;
use consistent_backup::error::ExitCode;

const README: &str = include_str!("../../README.md");

/// Commands in console blocks: `$ kubectl consistent-backup …`.
fn commands() -> Vec<Vec<String>> {
    let joined = README.replace("\\\n", " ");
    let typed = joined.lines().filter_map(|line| line.strip_prefix("$ kubectl consistent-backup "));
    typed.map(|rest| std::iter::once("kubectl-consistent_backup".to_owned()).chain(words(rest)).collect()).collect()
}

/// As a shell splits it: what stands in single quotes is one word.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in line.split('\'').enumerate() {
        if n % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn every_command_is_one_that_the_program_takes() {
    let commands = commands();
    assert!(commands.len() >= 6, "README shows {} commands", commands.len());
    for command in commands {
        if let Err(error) = Cli::try_parse_from(&command) {
            panic!("{command:?}: {error}");
        }
    }
}

#[test]
fn every_subcommand_is_in_it() {
    for subcommand in Cli::command().get_subcommands() {
        let name = subcommand.get_name();
        let named = README.contains(&format!("`{name}")) || README.contains(&format!("consistent-backup {name} "));
        assert!(named, "{name} is not in README");
    }
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let codes = [
        ExitCode::Done,
        ExitCode::Failed,
        ExitCode::Usage,
        ExitCode::Lesser,
        ExitCode::Held,
        ExitCode::Refused,
        ExitCode::Interrupted,
    ];
    let table = README.split("## Exit codes").nth(1).unwrap().split("\n## ").next().unwrap();
    let listed: Vec<i32> =
        table.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect();
    assert_eq!(listed, codes.map(|code| code as i32));
}

#[test]
fn files_that_it_names_exist() {
    for path in [
        "tests/run",
        "tests/cluster/demo",
        "src/cluster/access/rights.md",
        "src/lib.rs",
        "src/protocol",
        "src/quiescer",
        "tests/fixtures",
    ] {
        assert!(README.contains(path), "README does not name {path}");
        let full = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        assert!(full.exists(), "README names {path}, which is not there");
    }
}
