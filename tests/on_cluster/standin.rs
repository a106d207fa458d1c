//! The stand-in for Scalar's servers, without the plugin: Scalar's own client, as users have it, takes it for one.

use std::collections::HashSet;

use crate::support::acks::{Ack, AckLog, now};
use crate::support::backup::{part, written};
use crate::support::database::{Database, Kind};
use crate::support::scalar::{Product, Release};
use crate::support::scene::Scene;
use crate::support::verdict::Row;
use crate::support::wait::{seconds, until, until_none};

#[test]
fn scalar_admin_takes_the_stand_in_for_a_server() {
    let scene = Scene::new("standin", &[Database::new(Kind::Postgres).idle()]);
    let shop = Release::new(&scene.kubectl, Product::ScalarDbCluster, "shop", &[]);
    part("ScalarDB Cluster", || it_pauses_and_unpauses_scalardb_cluster(&scene, &shop));
    // Two writers of one table would take each other's numbers.
    scene.kubectl.ok(&["delete", "pod", &format!("writer-{}", shop.full_name), "--now"]);
    let books = Release::new(&scene.kubectl, Product::Ledger, "books", &["--tls"]);
    part("ScalarDL Ledger with TLS", || it_pauses_and_unpauses_scalardl_ledger_over_tls(&scene, &books));
}

/// Pauses it by the real client, sees that no row comes while rows are asked for at every pod, and unpauses it.
fn rows_stop_and_come_again(scene: &Scene, release: &Release, acks: &AckLog, options: &[&str]) {
    let rows = || scene.rows_in(Kind::Postgres, &Kind::Postgres.pod());
    let numbers = |rows: &[Row]| rows.iter().map(|row| row.number).collect::<HashSet<i64>>();
    let turned_away = || -> Vec<u64> {
        let sum = |state: &serde_json::Value| state["refused"].as_u64().unwrap() + state["held"].as_u64().unwrap();
        release.states().iter().map(sum).collect()
    };
    let before = now();
    let paused = release.scalar_admin("pause", options).done();
    assert!(paused.stdout.contains("Pause completed at "), "{paused}");
    let (all_paused, there) = (now(), rows());
    assert!(acks.all().iter().any(|ack| ack.acked > before), "it was not busy when it was paused");
    let check = release.scalar_admin("check_paused", options).done();
    assert_eq!(check.stdout.matches("\"true\"").count(), release.pods().len(), "{check}");
    release.are_paused(true);
    until("requests at every closed gate", seconds(60), || {
        let sums = turned_away();
        if sums.iter().all(|sum| *sum > 0) { Ok(()) } else { Err(format!("{sums:?}")) }
    });
    assert_eq!(rows().len(), there.len(), "rows came while it was paused");
    // An answer may be on its way to the writer while the gates close: its row was there before.
    let (told, before) = (acks.all(), numbers(&there));
    let inside: Vec<&Ack> = told.iter().filter(|ack| ack.begun > all_paused || !before.contains(&ack.number)).collect();
    assert!(inside.is_empty(), "acknowledged while it was paused: {inside:?}");

    let over = now();
    release.scalar_admin("unpause", options).done();
    acks.serves_after(over, seconds(30));
    release.are_paused(false);
    let there = numbers(&rows());
    let lost: Vec<i64> = told.iter().map(|ack| ack.number).filter(|number| !there.contains(number)).collect();
    assert!(told.len() > 50 && lost.is_empty(), "of {} rows that were acknowledged: {lost:?} are lost", told.len());
}

fn it_pauses_and_unpauses_scalardb_cluster(scene: &Scene, release: &Release) {
    let acks = release.busy();
    written(&acks, "shop");
    rows_stop_and_come_again(scene, release, &acks, &[]);

    // A pod that is restarted while the others are paused is not.
    release.scalar_admin("pause", &[]).done();
    let pods = release.pods();
    release.restart(&pods[0]);
    assert_eq!(release.state(&pods[0])["paused"], false);
    acks.serves_after(now(), seconds(30));
    assert_eq!(release.state(&pods[1])["paused"], true);
    release.scalar_admin("unpause", &[]).done();

    // A drain that takes too long opens the gate again.
    release.switch(&pods[1], &["drain=20s"]);
    until("a slow request", seconds(30), || match release.state(&pods[1]) {
        state if state["outstanding"].as_u64().unwrap() > 0 => Ok(()),
        state => Err(state),
    });
    let failed = release.scalar_admin("pause", &["-m", "500"]);
    assert!(failed.code() != Some(0) && failed.to_string().contains("FAILED_PRECONDITION"), "{failed}");
    assert_eq!(release.state(&pods[1])["paused"], false);
    // Its row would come while the next release is paused.
    release.switch(&pods[1], &["drain=0s"]);
    until("the end of the slow request", seconds(60), || match release.state(&pods[1]) {
        state if state["outstanding"] == 0 => Ok(()),
        state => Err(state),
    });
}

fn it_pauses_and_unpauses_scalardl_ledger_over_tls(scene: &Scene, release: &Release) {
    let acks = release.busy();
    written(&acks, "books");
    let certificate = release.authority_certificate();
    let options = ["--tls", "--ca-root-cert-pem", &certificate, "--override-authority", release.product.authority()];
    rows_stop_and_come_again(scene, release, &acks, &options);

    // Without the name that is in the certificate, or without TLS, there is no answer.
    for wrong in [&options[..3], &[]] {
        let refused = release.scalar_admin("check_paused", wrong);
        assert!(refused.code() != Some(0) && refused.to_string().contains("UNAVAILABLE"), "{refused}");
    }

    // Errors so many times as told, and then no more.
    release.switch_all(&["pause=error:1"]);
    assert_ne!(release.scalar_admin("pause", &options).code(), Some(0));
    release.are_paused(false);
    release.scalar_admin("pause", &["-n"].into_iter().chain(options).collect::<Vec<_>>()).done();
    release.are_paused(true);
    release.scalar_admin("unpause", &options).done();
    until_none("nothing held any more", seconds(30), || {
        let states = release.states();
        states.iter().filter(|state| state["held"] != 0).map(ToString::to_string).collect()
    });
}
