use std::time::{Duration, Instant};

use consistent_backup::exec::{Place, run};
use consistent_backup::quiescer::{Answer, End};

use super::{Ground, argv, never_succeeded, sh};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_command_has_one_of_three_ends() {
    let ground = Ground::new("exec").await;
    let at = ground.pod("a").await;
    let cluster = &ground.cluster;

    for code in [0, 3, 5, 126, 127, 137, 143] {
        let answer = run(cluster, &at, &sh(&format!("echo out; echo err >&2; exit {code}")), SOON).await;
        let want = Answer { out: "out\n".into(), err: "err\n".into(), end: End::Exited(code) };
        assert_eq!(answer, want);
    }
    assert_eq!(run(cluster, &at, &sh("kill -9 $$"), SOON).await.end, End::Exited(137));
    let hour = run(cluster, &at, &argv(&["timeout", "1", "sleep", "3600"]), SOON).await;
    assert_eq!(hour.end, End::Exited(124));

    let absent = run(cluster, &at, &argv(&["/no/such/command"]), SOON).await;
    eprintln!("no command: {:?}", absent.end);
    assert!(never_succeeded(&absent), "{absent:?}");
    let silent = run(cluster, &at, &argv(&["true"]), SOON).await;
    assert!(matches!(silent.end, End::Unknown(_)), "{silent:?}");
    for (pod, container) in [("none", "main"), ("a", "none")] {
        let nowhere = Place { pod: pod.into(), container: container.into(), ..at.clone() };
        let answer = run(cluster, &nowhere, &argv(&["true"]), SOON).await;
        eprintln!("{nowhere}: {:?}", answer.end);
        assert!(matches!(answer.end, End::Refused(_)), "{answer:?}");
    }

    let begin = Instant::now();
    let slow = run(cluster, &at, &sh("echo begun; sleep 60"), Duration::from_secs(5)).await;
    assert_eq!((slow.out.as_str(), slow.end), ("begun\n", End::Unknown("no answer in 5s".into())));
    assert!(begin.elapsed() < Duration::from_secs(30));
    ground.end().await;
}

#[tokio::test]
async fn floods_block_nothing() {
    let ground = Ground::new("flood").await;
    let at = ground.pod("a").await;
    let flood = "head -c 4194304 /dev/zero | tr '\\0' e >&2; echo the end >&2; echo out; exit 7";
    let answer = run(&ground.cluster, &at, &sh(flood), SOON).await;
    assert_eq!((answer.out.as_str(), &answer.end), ("out\n", &End::Exited(7)));
    assert!(answer.err.ends_with("the end\n") && answer.err.len() <= (64 << 10) + 3);

    let answer = run(&ground.cluster, &at, &sh("head -c 1000000 /dev/zero | tr '\\0' o"), SOON).await;
    assert_eq!((answer.out.len(), answer.end), (1_000_000, End::Exited(0)));
    let answer = run(&ground.cluster, &at, &sh("head -c 9000000 /dev/zero | tr '\\0' o"), SOON).await;
    assert_eq!(answer.end, End::Unknown("its output is too long (exit code 0)".into()));
    ground.end().await;
}

#[tokio::test]
async fn many_at_once() {
    let ground = Ground::new("many").await;
    let at = ground.pod("a").await;
    let runs = (0..20).map(|n| {
        let (cluster, at) = (ground.cluster.clone(), at.clone());
        tokio::spawn(async move { run(&cluster, &at, &sh(&format!("echo x; exit {n}")), SOON).await.end })
    });
    for (n, end) in futures::future::join_all(runs).await.into_iter().enumerate() {
        assert_eq!(end.unwrap(), End::Exited(i32::try_from(n).unwrap()));
    }
    ground.end().await;
}
