//! Which VolumeSnapshotClass a volume is cut with.

use super::SnapshotClass;
use crate::error::Refusal;

/// The asked class; else the driver's default; else its only one. Never a guess between several.
pub(super) fn choose<'a>(
    claim: &str,
    driver: &str,
    asked: Option<&str>,
    classes: &'a [SnapshotClass],
) -> Result<&'a SnapshotClass, Refusal> {
    let of_driver: Vec<&SnapshotClass> = classes.iter().filter(|c| c.driver == driver).collect();
    if let Some(name) = asked {
        let Some(class) = classes.iter().find(|c| c.name == name) else {
            return Err(Refusal::new(format!("volumesnapshotclass/{name}"), "does not exist").hint(there_are(classes)));
        };
        if class.driver != driver {
            return Err(Refusal::new(
                claim,
                format!("its volume is of driver {driver}, but volumesnapshotclass/{name} is of {}", class.driver),
            )
            .hint(there_are(classes)));
        }
        return Ok(class);
    }
    let defaults: Vec<&SnapshotClass> = of_driver.iter().copied().filter(|c| c.default).collect();
    match (&defaults[..], &of_driver[..]) {
        ([class], _) | ([], [class]) => Ok(class),
        ([], []) => {
            Err(Refusal::new(claim, format!("there is no VolumeSnapshotClass for its volume's driver {driver}"))
                .hint(there_are(classes)))
        }
        ([], several) => Err(Refusal::new(
            claim,
            format!("driver {driver} has several VolumeSnapshotClasses and no default: {}", names(several)),
        )
        .hint("say which with --snapshot-class")),
        (several, _) => Err(Refusal::new(
            claim,
            format!("driver {driver} has several default VolumeSnapshotClasses: {}", names(several)),
        )
        .hint("say which with --snapshot-class, or leave one of them the default")),
    }
}

fn names(classes: &[&SnapshotClass]) -> String {
    let names: Vec<&str> = classes.iter().map(|c| c.name.as_str()).collect();
    names.join(", ")
}

fn there_are(classes: &[SnapshotClass]) -> String {
    if classes.is_empty() {
        return "the cluster has no VolumeSnapshotClass at all: create one".into();
    }
    let all: Vec<String> = classes.iter().map(|c| format!("{} (driver {})", c.name, c.driver)).collect();
    format!("there are {}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Location;

    fn class(name: &str, driver: &str, default: bool) -> SnapshotClass {
        SnapshotClass {
            name: name.into(),
            driver: driver.into(),
            deletion_policy: "Delete".into(),
            default,
            location: Location::Unknown,
        }
    }

    fn chosen(asked: Option<&str>, classes: &[SnapshotClass]) -> Result<String, (String, String)> {
        choose("persistentvolumeclaim/data", "d1", asked, classes)
            .map(|c| c.name.clone())
            .map_err(|r| (r.message, r.hint.unwrap_or_default()))
    }

    #[test]
    fn the_asked_one_the_default_or_the_only_one() {
        let (a, b, other) = (class("a", "d1", false), class("b", "d1", true), class("c", "d2", true));
        assert_eq!(chosen(Some("a"), &[a.clone(), b.clone()]), Ok("a".into()));
        assert_eq!(chosen(None, &[a.clone(), b, other.clone()]), Ok("b".into()));
        assert_eq!(chosen(None, &[a, other]), Ok("a".into()));
    }

    #[test]
    fn everything_else_is_refused() {
        let (a, b, other) = (class("a", "d1", false), class("b", "d1", false), class("c", "d2", true));
        let both = [class("a", "d1", true), class("b", "d1", true)];
        for (asked, classes, message, hint) in [
            (Some("x"), &[a.clone()][..], "does not exist", "there are a (driver d1)"),
            (
                Some("c"),
                &[a.clone(), other.clone()],
                "its volume is of driver d1, but volumesnapshotclass/c is of d2",
                "there are a (driver d1), c (driver d2)",
            ),
            (
                None,
                std::slice::from_ref(&other),
                "there is no VolumeSnapshotClass for its volume's driver d1",
                "there are c (driver d2)",
            ),
            (
                None,
                &[],
                "there is no VolumeSnapshotClass for its volume's driver d1",
                "the cluster has no VolumeSnapshotClass at all: create one",
            ),
            (
                None,
                &[a, b],
                "driver d1 has several VolumeSnapshotClasses and no default: a, b",
                "say which with --snapshot-class",
            ),
            (
                None,
                &both,
                "driver d1 has several default VolumeSnapshotClasses: a, b",
                "say which with --snapshot-class, or leave one of them the default",
            ),
        ] {
            assert_eq!(chosen(asked, classes), Err((message.into(), hint.into())));
        }
    }
}
