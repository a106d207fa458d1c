//! Backups in a row under load: consistent every time, nothing lost, nothing too much.

use crate::harness;
use crate::support::backup::{consistent, part};
use crate::support::database::{Database, Kind};
use crate::support::scene::Scene;
use crate::times;

#[test]
fn of_all_databases_in_one_call_and_of_each_alone() {
    let scene = Scene::new("together", &Kind::ALL.map(Database::new));
    part("the judgement", || harness::the_judgement_finds_rows_that_are_lost_and_rows_too_many(&scene));
    part("backups in a row", || backups_in_a_row(&scene));
}

fn backups_in_a_row(scene: &Scene) {
    for round in 1..=times(1, 20) {
        let taken = consistent(scene, &Kind::ALL, &[]);
        taken.copies_are_right(scene);
        println!("{round}: {} held {:.3} s", taken.run, taken.held_seconds(Kind::Mariadb));
    }
    // In the sample those of the others are among the tests of what they acknowledge early.
    for kind in if times(0, 1) == 1 { &Kind::ALL[..] } else { &[Kind::Postgres] } {
        for round in 1..=times(1, 20) {
            let taken = consistent(scene, &[*kind], &[]);
            taken.copies_are_right(scene);
            println!("{round}: {} of {} held {:.3} s", taken.run, kind.name(), taken.held_seconds(*kind));
        }
    }
}
