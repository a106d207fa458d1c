//! Asking before a record is acted on that nothing but itself speaks for.

use super::delete::confirm;
use crate::cluster::client::Cluster;
use crate::error::{Error, ExitCode};
use crate::journal::Stored;
use crate::output::progress::Progress;
use crate::runs::proof::{Believed, Wish, judge};

/// Fails unless objects beside what would be touched say that this run acts there, or the user does: by `--yes`, or on the
/// terminal. `held`: something of the run may be held, or down.
pub(super) async fn believed(
    cluster: &Cluster,
    stored: &Stored,
    (wish, held): (Wish, bool),
    yes: bool,
    progress: &Progress,
) -> Result<Believed, Error> {
    let unproven = match judge(cluster, stored, wish).await? {
        Ok(believed) => return Ok(believed),
        Err(namespaces) => namespaces,
    };
    let text = unproven_text(stored, &unproven);
    if yes {
        progress.say(&text);
        return Believed::confirmed(stored, wish);
    }
    let answered = progress.without_bar(|| confirm(&format!("{text}; finish it all the same?")));
    answered.and_then(|()| Believed::confirmed(stored, wish)).map_err(|why| {
        let code = if held { ExitCode::Held } else { ExitCode::Refused };
        let describe = cluster.typed.command("describe", &stored.run, &stored.namespace);
        let error = Error { code, ..Error::failed(text) }.cause(why);
        error.hint(format!("see what it says: {describe}; if it is yours, add --yes"))
    })
}

fn unproven_text(stored: &Stored, namespaces: &[String]) -> String {
    let places = match namespaces {
        [one] => format!("namespace {one}"),
        all => format!("namespaces {}", all.join(", ")),
    };
    format!(
        "run {}: no lease in {places} names its record (configmap/{} in namespace {}), which anybody with the right to \
         write ConfigMaps there may have written",
        stored.run, stored.name, stored.namespace
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn record_and_places_are_named() {
        let stored =
            Stored::new(serde_json::from_str(include_str!("../../tests/fixtures/journals/backup-2.json")).unwrap());
        assert_eq!(
            unproven_text(&stored, &["kube-system".into()]),
            "run 20261121-160027-d87d: no lease in namespace kube-system names its record \
             (configmap/consistent-backup-20261121-160027-d87d in namespace golden), which anybody with the right to write \
             ConfigMaps there may have written"
        );
        assert!(unproven_text(&stored, &["a".into(), "b".into()]).contains("no lease in namespaces a, b names"));
    }
}
