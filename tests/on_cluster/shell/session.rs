use std::time::{Duration, Instant};

use consistent_backup::exec::{Channels, Place, Session, run, run_script};
use consistent_backup::quiescer::{Act, Channel, End};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;

use super::{Ground, argv, lives, never_succeeded, sh};

const SOON: Duration = Duration::from_secs(10);

fn shell(id: u8) -> Channel {
    Channel { id, argv: argv(&["sh"]), end: "exit" }
}

async fn open(ground: &Ground, at: &Place) -> Session {
    Session::open(&ground.cluster, at, &shell(1), SOON).await.unwrap_or_else(|a| panic!("{a:?}"))
}

async fn pid(session: &mut Session) -> String {
    session.ask("echo $$; echo P\n", "P", SOON).await.out.trim().to_owned()
}

#[tokio::test]
async fn questions_are_answered_in_an_open_session() {
    let ground = Ground::new("ask").await;
    let at = ground.pod("a").await;
    let mut session = open(&ground, &at).await;
    let begin = Instant::now();
    for n in 0..100 {
        let answer = session.ask(&format!("echo {n}; echo oops >&2; echo END{n}\n"), &format!("END{n}"), SOON).await;
        assert_eq!((answer.out, answer.end), (format!("{n}\n"), End::Answered));
    }
    eprintln!("100 questions: {:?}", begin.elapsed());

    assert!(session.tell("sleep 1; echo later; echo W\n").ok());
    assert_eq!(session.expect("W", SOON).await.out, "later\n");

    // Longer than two pings: an idle session lives.
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(session.ask("echo still; echo S\n", "S", SOON).await.out, "still\n");

    let process = pid(&mut session).await;
    assert!(lives(&ground.cluster, &at, &process).await);
    assert_eq!(session.close().await, End::Exited(0));
    assert!(!lives(&ground.cluster, &at, &process).await);
    ground.end().await;
}

#[tokio::test]
async fn a_session_ends_with_its_process_its_pod_and_with_us() {
    let ground = Ground::new("end").await;
    let at = ground.pod("a").await;

    let mut session = open(&ground, &at).await;
    let process = pid(&mut session).await;
    run(&ground.cluster, &at, &sh(&format!("kill -9 {process}")), SOON).await;
    let answer = session.ask("echo x; echo A\n", "A", SOON).await;
    assert_eq!(answer.end, End::Exited(137));
    assert_eq!(session.ended(), Some(End::Exited(137)));

    // Killed while it owes an answer. (Had it a child with the same output, the runtime would wait for that one.)
    let mut session = open(&ground, &at).await;
    let process = pid(&mut session).await;
    let kill = sh(&format!("until [ -p /tmp/never ]; do sleep 0.1; done; kill -9 {process}"));
    let (answer, _) = tokio::join!(
        session.ask("echo part; mkfifo /tmp/never; read x < /tmp/never; echo A\n", "A", SOON),
        run(&ground.cluster, &at, &kill, SOON)
    );
    assert_eq!((answer.out.as_str(), answer.end), ("part\n", End::Exited(137)));

    // Dropping the session is the end of its process.
    let mut session = open(&ground, &at).await;
    let process = pid(&mut session).await;
    drop(session);
    let dropped = Instant::now();
    while lives(&ground.cluster, &at, &process).await {
        assert!(dropped.elapsed() < Duration::from_secs(15));
    }

    // The pod goes.
    let mut session = open(&ground, &at).await;
    let pods: Api<Pod> = Api::namespaced(ground.cluster.api.clone(), &ground.namespace);
    let gone = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete("a", &gone).await.unwrap();
    let begin = Instant::now();
    let answer = session.ask("sleep 30; echo A\n", "A", SOON).await;
    eprintln!("pod deleted: {:?} after {:?}", answer.end, begin.elapsed());
    assert!(!answer.ok());
    ground.end().await;
}

#[tokio::test]
async fn a_script_is_done_act_by_act_and_not_past_its_deadline() {
    let ground = Ground::new("script").await;
    let at = ground.pod("a").await;
    let mut channels =
        Channels::open(&ground.cluster, &at, vec![shell(1), shell(2)], SOON).await.unwrap_or_else(|a| panic!("{a:?}"));
    let ask = |on, send: &str, until: &str| Act::Ask {
        on,
        send: format!("{send}; echo {until}\n"),
        until: until.into(),
        within: SOON,
    };
    let script = [
        ask(1, "echo one", "A"),
        Act::Tell { on: 2, send: "sleep 1; echo two; echo B\n".into() },
        Act::Exec { argv: sh("echo three"), within: SOON },
        Act::Expect { on: 2, until: "B".into(), within: SOON },
        Act::Poll {
            on: 1,
            send: "i=$((i+1)); echo $i; echo C\n".into(),
            until: "C".into(),
            done: |out| out == "5\n",
            every: Duration::from_millis(20),
            within: SOON,
        },
        Act::Wait(Duration::from_millis(50)),
        ask(1, "echo six", "D"),
    ];
    let answers = run_script(&mut channels, &ground.cluster, &at, &script, Instant::now() + SOON).await;
    let outs: Vec<_> = answers.iter().map(|a| a.out.trim()).collect();
    assert_eq!(outs, ["one", "", "three", "two", "5", "", "six"]);

    let late = [ask(1, "sleep 30", "E"), ask(2, "echo x", "F")];
    let begin = Instant::now();
    let answers = run_script(&mut channels, &ground.cluster, &at, &late, begin + Duration::from_secs(1)).await;
    assert!(begin.elapsed() < Duration::from_secs(15));
    assert_eq!(answers.len(), 1);
    assert!(matches!(answers[0].end, End::Unknown(_)));
    assert_eq!(channels.ended(), None);
    channels.close().await;

    let wrong = vec![shell(1), Channel { id: 2, argv: argv(&["/no/such"]), end: "exit" }];
    match Channels::open(&ground.cluster, &at, wrong, SOON).await {
        Err(answer) => eprintln!("refused when opened: {:?}", answer.end),
        Ok(mut channels) => {
            let answers = run_script(&mut channels, &ground.cluster, &at, &[ask(2, "echo", "A")], begin + SOON).await;
            assert!(never_succeeded(&answers[0]), "{answers:?}");
        }
    }
    ground.end().await;
}
