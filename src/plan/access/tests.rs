//! What each command gets, and what it must not get.

use super::*;

fn purpose(command: Command) -> Purpose {
    Purpose { commands: [command].into(), ..Purpose::default() }
}

/// Resources with their verbs between commas, of one place.
fn has(rights: &BTreeSet<Right>, place: Place, resource: &str) -> String {
    let of_it = rights.iter().filter(|right| right.place == place && right.resource == resource);
    of_it.map(|right| right.verb).collect::<Vec<_>>().join(",")
}

#[test]
fn all_commands_together_get_what_each_of_them_gets() {
    let all = Purpose { scalar: true, guard: true, ..Purpose::default() }.rights();
    let places = |right: &Right| Right { place: Place::Databases, ..*right };
    let all: BTreeSet<Right> = all.iter().map(places).collect();
    for command in Command::ALL {
        let rights = Purpose { cold: true, retain: true, scalar: true, guard: true, ..purpose(command) }.rights();
        let rights: BTreeSet<Right> = rights.iter().map(places).collect();
        assert!(rights.is_subset(&all), "{}: {:?}", command.name(), rights.difference(&all));
        assert_eq!(rights.is_empty(), matches!(command, Command::Rbac | Command::Guard), "{}", command.name());
        assert_eq!(Command::read(command.name()), Some(command));
    }
}

#[test]
fn commands_that_read_get_no_verb_that_writes() {
    for command in [Command::List, Command::Describe, Command::Compare] {
        let writes = |right: &Right| !matches!(right.verb, "get" | "list");
        let rights = purpose(command).rights();
        assert!(!rights.iter().any(writes), "{}: {rights:?}", command.name());
    }
}

/// A content that is created reads any volume that the driver reaches; a volume that is patched is anybody's.
#[test]
fn only_restores_may_create_contents_and_patch_volumes() {
    for command in Command::ALL {
        let rights = Purpose { backup_only: true, ..purpose(command) }.rights();
        let creates = has(&rights, Place::Cluster, CONTENTS).contains("create");
        assert_eq!(creates, command == Command::RestoreFromSnapshot, "{}", command.name());
        let patches = has(&rights, Place::Cluster, "persistentvolumes").contains("patch");
        assert_eq!(patches, command == Command::RestoreFromSnapshot, "{}", command.name());
    }
    let thaw = purpose(Command::Thaw).rights();
    assert_eq!(has(&thaw, Place::Cluster, CONTENTS), "get,list,patch");
    assert_eq!(has(&thaw, Place::Cluster, "persistentvolumes"), "get,patch", "a restore's way back");
}

#[test]
fn a_backup_deletes_no_content_unless_its_class_keeps_them() {
    let backup = purpose(Command::QuiesceSnapshot);
    assert_eq!(has(&backup.rights(), Place::Cluster, CONTENTS), "get,list,patch,watch");
    let retain = Purpose { retain: true, ..backup };
    assert_eq!(has(&retain.rights(), Place::Cluster, CONTENTS), "delete,get,list,patch,watch");
    // A backup that is kept has deletionPolicy Retain whatever its class says.
    assert!(has(&purpose(Command::Delete).rights(), Place::Cluster, CONTENTS).contains("delete"));
    let verify = purpose(Command::Verify);
    assert_eq!(has(&verify.rights(), Place::Cluster, "persistentvolumes"), "get");
    let retain = Purpose { retain: true, ..verify };
    assert_eq!(has(&retain.rights(), Place::Cluster, "persistentvolumes"), "get,patch");
}

#[test]
fn platforms_guards_and_cold_backups_take_their_own_rows() {
    let backup = purpose(Command::QuiesceSnapshot);
    let plain = backup.rights();
    assert_eq!(has(&plain, Place::Databases, "pods"), "get,list");
    assert_eq!(has(&plain, Place::Databases, "pods/portforward"), "");
    assert_eq!(has(&plain, Place::Databases, "deployments"), "get");
    let scalar = Purpose { scalar: true, ..backup.clone() }.rights();
    assert_eq!(has(&scalar, Place::Databases, "pods/portforward"), "create,get");
    assert_eq!(has(&scalar, Place::Databases, "deployments"), "get,list");
    assert_eq!(has(&scalar, Place::Databases, "pods"), "get,list");
    let guard = Purpose { guard: true, ..backup.clone() }.rights();
    assert_eq!(has(&guard, Place::Databases, "pods"), "create,delete,get,list");
    let cold = Purpose { cold: true, ..backup }.rights();
    assert_eq!(has(&cold, Place::Databases, "statefulsets"), "get,patch");
    assert_eq!(has(&cold, Place::Cluster, "volumeattachments"), "list");
}

#[test]
fn the_rows_of_a_restore_and_a_verification_are_the_questions_of_their_preflights() {
    let beside = |rights: BTreeSet<Right>, asked: Vec<restore::Access>| {
        let asked: BTreeSet<Right> = placed(asked).collect();
        assert!(asked.is_subset(&rights), "asked, and not printed: {:?}", asked.difference(&rights));
        rights.difference(&asked).copied().collect::<BTreeSet<Right>>()
    };
    let (here, kinds) = (here(), kinds());
    let asked = [
        restore::of_restore(&here, &stopped(), RECORD),
        restore::copies(&here),
        restore::anew(&here, &kinds),
        restore::aliases(&here),
        restore::helper(&here),
    ];
    let unasked = beside(purpose(Command::RestoreFromSnapshot).rights(), asked.concat());
    assert!(unasked.is_subset(&rows(RESTORE).collect()), "{unasked:?}");

    let retain = Purpose { retain: true, ..purpose(Command::Verify) };
    let unasked = beside(retain.rights(), restore::verify(&here, None, RECORD));
    assert!(unasked.is_subset(&rows(VERIFY).collect()), "{unasked:?}");
    let asked = [restore::verify(&here, Some(ELSEWHERE), RECORD), restore::aliases(&there())];
    let unasked = beside(Purpose { elsewhere: true, ..retain }.rights(), asked.concat());
    assert!(unasked.is_subset(&rows(VERIFY).collect()), "{unasked:?}");
}

/// A release that only stands in front of the databases, and properties that are set.
#[test]
fn a_platform_covers_the_restore_of_its_releases() {
    let front = Stopped { namespace: HERE, kind: "Deployment", front: true };
    let of_release = restore::of_restore(&BTreeSet::new(), &[front], RECORD);
    let rights = Purpose { scalar: true, ..purpose(Command::RestoreFromSnapshot) }.rights();
    for right in placed(of_release).chain(rows(PROPERTIES)) {
        assert!(rights.contains(&right), "{right:?}");
    }
}

#[test]
fn what_a_verification_makes_may_be_deleted_with_its_backup() {
    let made: BTreeSet<Right> = placed(restore::verify(&here(), None, RECORD)).collect();
    let rights = purpose(Command::Delete).rights();
    for right in made.iter().filter(|right| right.verb == "delete" && right.place == Place::Databases) {
        assert!(rights.contains(right), "{right:?}");
        assert!(rights.contains(&Right { verb: "list", ..*right }), "{right:?}");
    }
    assert!(!has(&rights, Place::Databases, "pods").contains("create"));
}

#[test]
fn without_contents_no_row_names_them() {
    for command in Command::ALL {
        let rights = Purpose { no_contents: true, retain: true, ..purpose(command) }.rights();
        assert!(!rights.iter().any(|right| right.resource == CONTENTS), "{}", command.name());
    }
}

#[test]
fn records_in_a_namespace_of_their_own_are_written_there_only() {
    for command in Command::ALL {
        // A restore makes the ConfigMaps of workloads that are gone.
        let makes = command == Command::RestoreFromSnapshot;
        let rights = Purpose { record_apart: true, ..purpose(command) }.rights();
        let verbs = has(&rights, Place::Databases, "configmaps");
        let forbidden = if makes { &["patch", "delete"][..] } else { &["create", "patch", "delete"] };
        assert!(!forbidden.iter().any(|verb| verbs.contains(verb)), "{}: {verbs}", command.name());
    }
}
