//! The owner of a database plants what would run with our rights, in every database that he can reach, and in none of
//! what the plugin does he gains anything.

use crate::support::backup::{consistent, held, part};
use crate::support::classes::FaultClass;
use crate::support::database::{Database, Kind};
use crate::support::plugin::run_of;
use crate::support::scene::Scene;
use crate::support::wait::seconds;

const POSTGRES: Kind = Kind::Postgres;

/// Makes whoever runs it with a superuser's rights make the owner one.
const GRAB: &str = "CREATE FUNCTION public.grab() RETURNS void LANGUAGE plpgsql AS $$ BEGIN \
    IF pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on' THEN \
    EXECUTE 'ALTER ROLE owner SUPERUSER'; END IF; END $$; \
    CREATE FUNCTION public.not_like(name, name) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
    PERFORM public.grab(); RETURN NOT ($1::text OPERATOR(pg_catalog.~) $2::text); END $$; \
    CREATE OPERATOR public.!~ (LEFTARG = name, RIGHTARG = name, FUNCTION = public.not_like); \
    CREATE FUNCTION public.same(oid, regnamespace) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
    PERFORM public.grab(); RETURN $1 OPERATOR(pg_catalog.=) $2::oid; END $$; \
    CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regnamespace, FUNCTION = public.same); \
    CREATE FUNCTION public.bt_index_check(int, boolean) RETURNS void LANGUAGE plpgsql AS $$ BEGIN \
    PERFORM public.grab(); END $$; \
    CREATE FUNCTION public.verify_heapam(int) RETURNS TABLE (msg text) LANGUAGE plpgsql AS $$ BEGIN \
    PERFORM public.grab(); END $$;";

/// Functions that the plugin asks for, found first by a `search_path` that the owner may set for his database.
const SHADOWS: &str = "CREATE SCHEMA evil; \
    CREATE FUNCTION evil.pg_is_in_recovery() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
    PERFORM public.grab(); RETURN false; END $$; \
    CREATE FUNCTION evil.pg_backend_pid() RETURNS int LANGUAGE plpgsql AS $$ BEGIN \
    PERFORM public.grab(); RETURN pg_catalog.pg_backend_pid(); END $$; \
    CREATE FUNCTION evil.current_database() RETURNS name LANGUAGE plpgsql AS $$ BEGIN \
    PERFORM public.grab(); RETURN pg_catalog.current_database(); END $$; \
    ALTER DATABASE shop SET search_path = evil, pg_catalog, public; \
    ALTER DATABASE shop SET statement_timeout = '1ms'; \
    ALTER DATABASE shop SET lock_timeout = '1ms'; \
    ALTER DATABASE shop SET idle_in_transaction_session_timeout = '1ms'; \
    ALTER DATABASE shop SET idle_session_timeout = '1ms'; \
    ALTER DATABASE shop SET default_transaction_read_only = on; \
    ALTER DATABASE shop SET role = owner;";

fn sql(scene: &Scene, database: &str, text: &str) -> String {
    let argv = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-U", "app", "-d", database, "-c", text];
    scene.kubectl.exec(&POSTGRES.pod(), &argv).done().stdout.trim().to_owned()
}

fn plant(scene: &Scene) {
    sql(scene, "postgres", "CREATE ROLE owner LOGIN; GRANT CREATE ON SCHEMA public TO owner");
    sql(scene, "app", "GRANT CREATE ON SCHEMA public TO owner");
    sql(scene, "postgres", "CREATE DATABASE shop OWNER owner");
    for database in ["postgres", "app", "shop"] {
        let table = if database == "shop" { "CREATE TABLE public.wares (n int PRIMARY KEY);" } else { "" };
        sql(scene, database, &format!("SET ROLE owner; {GRAB} {table}"));
    }
    sql(scene, "shop", &format!("SET ROLE owner; {SHADOWS}"));
}

#[track_caller]
fn gained_nothing(scene: &Scene, after: &str) {
    let superusers = sql(scene, "app", "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolsuper");
    assert_eq!(superusers, "app", "after {after}");
}

#[test]
fn the_owner_of_a_database_gains_nothing() {
    let scene = Scene::new("owner", &[Database::new(POSTGRES)]);
    plant(&scene);
    // What is planted works: a session with the database's own settings falls for it.
    let naive = "SELECT count(*) FROM pg_namespace WHERE nspname !~ '^pg_'";
    sql(&scene, "app", naive);
    assert_eq!(sql(&scene, "app", "SELECT rolsuper FROM pg_roles WHERE rolname = 'owner'"), "t");
    sql(&scene, "app", "ALTER ROLE owner NOSUPERUSER");

    let full = "consistent-backup/hold=full";
    part("a dry run", || {
        scene.backup(&["--dry-run"]).run().done();
        gained_nothing(&scene, "a dry run");
    });
    let taken = part("a light and a full hold", || {
        consistent(&scene, &[POSTGRES], &[]);
        gained_nothing(&scene, "a light hold");
        scene.kubectl.ok(&["annotate", "pod", &POSTGRES.pod(), full]);
        let taken = consistent(&scene, &[POSTGRES], &[]);
        assert!(taken.held_seconds(POSTGRES) > 0.0, "it was not held fully");
        gained_nothing(&scene, "a full hold");
        taken
    });
    part("a run that died and is released", || {
        let class = FaultClass::new(&scene, "cut-delay-5s");
        let mut dies = held(scene.backup(&["--snapshot-class", &class.name]));
        dies.kill_hard();
        dies.end(seconds(5));
        scene.plugin(&["thaw"]).run().done();
        gained_nothing(&scene, "the release of a dead run");
    });
    part("a copy that is verified", || {
        let asked = "postgres-0=psql -X -At -U app -d app -c \
            \"SELECT 'superusers: ' || string_agg(rolname, ' ') FROM pg_roles WHERE rolsuper\"";
        let ended = scene.plugin(&["verify", &taken.run, "--query", asked, "-o", "json"]).run().done();
        let record = ended.json();
        assert_eq!(run_of(&record), taken.run);
        let verified = record["status"]["verified"].to_string();
        // The copy is the original's: he would be a superuser there.
        assert!(verified.contains("superusers: app\""), "{verified}");
        // Every table and index was looked at, by the extension's own functions.
        assert!(verified.contains("tables and B-trees of"), "{verified}");
        gained_nothing(&scene, "a verification");
    });
    part("a restore", || {
        scene.plugin(&["restore-from-snapshot", &taken.run, "--yes"]).run().done();
        gained_nothing(&scene, "a restore");
    });
}
