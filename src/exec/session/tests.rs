use futures::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use super::super::link::tests::{Server, server};
use super::*;

const SOON: Duration = Duration::from_secs(2);

/// A command that says back what it is told, and ends with code 0 at `exit`.
pub(in crate::exec) async fn echo(mut socket: Server) {
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else {
            continue;
        };
        let answer = if &bytes[..] == b"\x00exit\n" { br#"?{"status":"Success"}"#.to_vec() } else { bytes.to_vec() };
        let stream = if answer[0] == b'?' { 3 } else { 1 };
        let _ = socket.send(Message::binary([&[stream], &answer[1..]].concat())).await;
    }
}

fn session() -> Session {
    let (link, socket) = server();
    tokio::spawn(echo(socket));
    Session::on(link, "exit")
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_at_its_line() {
    let mut session = session();
    let answer = session.ask("one\ntwo\nA\n", "A", SOON).await;
    assert_eq!((answer.out.as_str(), &answer.end), ("one\ntwo\n", &End::Answered));
    assert_eq!(session.ask("B\n", "B", SOON).await.out, "");
    assert_eq!(session.close().await, End::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn what_came_unasked_is_not_the_next_answer() {
    let mut session = session();
    assert!(session.tell("stray\n").ok());
    tokio::time::sleep(SOON).await;
    assert_eq!(session.ask("x\nA\n", "A", SOON).await.out, "x\n");
}

#[tokio::test(start_paused = true)]
async fn what_was_told_can_be_expected_later() {
    let mut session = session();
    assert!(session.tell("reply\nW\n").ok());
    assert_eq!(session.expect("W", SOON).await.out, "reply\n");
}

#[tokio::test(start_paused = true)]
async fn a_question_without_an_answer_spoils_the_session() {
    let mut session = session();
    let answer = session.ask("half\n", "A", SOON).await;
    assert_eq!(answer.out, "half\n");
    assert_eq!(answer.end, End::Unknown("no answer in 2s".into()));
    for answer in [session.ask("A\n", "A", SOON).await, session.tell("x\n"), session.expect("A", SOON).await] {
        assert!(matches!(answer.end, End::Unknown(_)), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_question_spoils_the_session_too() {
    let mut session = session();
    assert!(timeout(Duration::from_secs(1), session.ask("x\n", "A", SOON)).await.is_err());
    assert!(!session.ask("A\n", "A", SOON).await.ok());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ended_well_has_still_not_answered() {
    let mut session = session();
    let answer = session.ask("exit\n", "A", SOON).await;
    assert!(!answer.ok(), "{answer:?}");
    assert!(!session.ask("A\n", "A", SOON).await.ok());
    assert_eq!(session.ended(), Some(End::Exited(0)));
}

#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_for_ever() {
    let (link, _socket) = server();
    assert!(matches!(Session::on(link, "exit").close().await, End::Unknown(_)));
}
