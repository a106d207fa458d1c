//! Asks before acting on a record that nothing but the record itself vouches for.

use tokio::sync::oneshot;

use super::delete::confirm;
use crate::cluster::client::Cluster;
use crate::error::{Error, ExitCode};
use crate::journal::Stored;
use crate::output::progress::Progress;
use crate::runs::proof::{Believed, Wish, judge};

/// The record, if the leases of its targets confirm it, or the user does: with `--yes` or on the terminal. `held`: something
/// of the run may be held, or down.
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
    progress.done();
    let answered = ask(format!("{text}. Finish it anyway?")).await;
    progress.go_on();
    answered.and_then(|()| Believed::confirmed(stored, wish)).map_err(|why| {
        let code = if held { ExitCode::Held } else { ExitCode::Refused };
        let describe = cluster.typed.command("describe", &stored.run, &stored.namespace);
        let error = Error { code, ..Error::failed(text) }.cause(why);
        error.hint(format!("inspect it: {describe}; if it is yours, add --yes"))
    })
}

/// Asks in a thread of its own: waiting for a key must neither keep Ctrl-C from being heard nor the program from ending.
async fn ask(question: String) -> Result<(), Error> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || tell.send(confirm(&question)));
    told.await.unwrap_or_else(|_| Err(Error::refused("cancelled")))
}

fn unproven_text(stored: &Stored, namespaces: &[String]) -> String {
    let places = match namespaces {
        [one] => format!("namespace {one}"),
        all => format!("namespaces {}", all.join(", ")),
    };
    format!(
        "run {}: no lease in {places} confirms its record, configmap/{} in namespace {}; anyone who can write ConfigMaps \
         there could have written it",
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
            "run 20261121-160027-d87d: no lease in namespace kube-system confirms its record, \
             configmap/consistent-backup-20261121-160027-d87d in namespace golden; anyone who can write ConfigMaps there could \
             have written it"
        );
        assert!(unproven_text(&stored, &["a".into(), "b".into()]).contains("no lease in namespaces a, b confirms"));
    }
}
