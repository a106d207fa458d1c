//! The arguments of `rbac`.

use clap::{Args, ValueEnum};

use crate::plan::access::Command;

/// Platforms with rows of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Platform {
    /// Releases of ScalarDB and ScalarDL.
    Scalar,
}

/// Arguments of `rbac`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "\
Examples:
  # All commands, for one person who does everything
  kubectl consistent-backup rbac -n demo | kubectl apply -f -
  # A scheduled backup whose records lie where only operators write
  kubectl consistent-backup rbac --for quiesce-snapshot --record-namespace backups -n demo
  # Somebody on call: look at runs, and release what a dead run left
  kubectl consistent-backup rbac --for list --for describe --for thaw -n demo
  # What each verb is worth to a thief, and a policy that narrows the role
  kubectl consistent-backup rbac --explain")]
pub struct Rbac {
    /// Only what this command takes; may be repeated [default: all commands]
    #[arg(long = "for", value_name = "COMMAND", value_parser = command)]
    pub commands: Vec<Command>,
    /// Also what this platform takes; may be repeated
    #[arg(long = "platform", value_enum, value_name = "NAME")]
    pub platforms: Vec<Platform>,
    /// Also what guard pods take (--guard-image): create and delete pods
    #[arg(long)]
    pub guard: bool,
    /// Also what --cold takes: stop workloads and start them again
    #[arg(long)]
    pub cold: bool,
    /// Also what a VolumeSnapshotClass or StorageClass with policy Retain takes: delete contents that a failed attempt left,
    /// change the volumes of verified copies
    #[arg(long)]
    pub retain: bool,
    /// The name of the roles: two of one name would replace each other
    #[arg(long, value_name = "NAME", default_value = "consistent-backup")]
    pub name: String,
    /// The namespace of the records: only there may ConfigMaps be changed, and it gets a Role of its own
    #[arg(long, value_name = "NAMESPACE")]
    pub record_namespace: Option<String>,
    /// The namespace in which copies are made: it gets a Role of its own
    #[arg(long, value_name = "NAMESPACE")]
    pub to_namespace: Option<String>,
    /// Leave out the cluster-scoped VolumeSnapshotContents: cuts are proved later, a backup dies with its namespace, and a
    /// restore in place is refused
    #[arg(long)]
    pub no_contents: bool,
    /// The same as --for quiesce-snapshot; with --for, leave out what only restores take
    #[arg(long)]
    pub backup_only: bool,
    /// Explain instead what each verb is worth to a thief, who must not be able to write records, and which admission
    /// policy narrows the role
    #[arg(long, exclusive = true)]
    pub explain: bool,
}

fn command(typed: &str) -> Result<Command, String> {
    Command::read(typed).ok_or_else(|| {
        let names: Vec<&str> = Command::ALL.iter().map(|command| command.name()).collect();
        format!("the commands are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn rights_are_known_of_every_command() {
        let cli = Cli::command();
        let typed: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
        let known: Vec<&str> = Command::ALL.iter().map(|command| command.name()).collect();
        assert_eq!(typed, known);
    }
}
