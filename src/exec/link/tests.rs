use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

pub(in crate::exec) type Server = WebSocketStream<DuplexStream>;

/// A link and the API server's side of it: real WebSocket framing on both.
pub(in crate::exec) fn server() -> (Link, Server) {
    let (ours, theirs) = tokio::io::duplex(16 << 10);
    let now = |stream, role| futures::executor::block_on(WebSocketStream::from_raw_socket(stream, role, None));
    (Link::over(now(ours, Role::Client)), now(theirs, Role::Server))
}

fn exit(code: u8) -> Message {
    let status =
        format!(r#"{{"status":"Failure","details":{{"causes":[{{"reason":"ExitCode","message":"{code}"}}]}}}}"#);
    Message::binary([&[3], status.as_bytes()].concat())
}

#[tokio::test(start_paused = true)]
async fn output_and_code_arrive() {
    let (mut link, mut socket) = server();
    for message in [&b"\x01"[..], b"\x01one ", b"\x02oops", b"\x01two"] {
        socket.send(Message::binary(message.to_vec())).await.unwrap();
    }
    socket.send(exit(3)).await.unwrap();
    assert_eq!(link.ended().await, End::Exited(3));
    assert_eq!(link.take_all(), ("one two".into(), "oops".into(), false));
}

#[tokio::test(start_paused = true)]
async fn a_flood_on_stderr_blocks_nothing() {
    let (mut link, mut socket) = server();
    let flood = tokio::spawn(async move {
        for _ in 0..64 {
            socket.send(Message::binary(vec![2; 32 << 10])).await.unwrap();
        }
        socket.send(exit(0)).await.unwrap();
        socket
    });
    assert_eq!(link.ended().await, End::Exited(0));
    flood.await.unwrap();
    assert!(link.take_err().len() <= (64 << 10) + 3);
}

#[tokio::test(start_paused = true)]
async fn a_close_without_a_status_is_unknown() {
    let (mut link, mut socket) = server();
    socket.close(None).await.unwrap();
    assert!(matches!(link.ended().await, End::Unknown(why) if why.contains("without an exit code")));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_is_unknown() {
    let (mut link, socket) = server();
    drop(socket);
    assert!(matches!(link.ended().await, End::Unknown(_)));
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed_after_a_missed_pong() {
    let (mut link, _socket) = server();
    let begin = Instant::now();
    assert!(matches!(link.ended().await, End::Unknown(why) if why.contains("silent")));
    assert_eq!(begin.elapsed(), 2 * PING);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_is_alive_without_saying_anything() {
    let (mut link, mut socket) = server();
    // Reading is what answers pings.
    tokio::spawn(async move { while socket.next().await.is_some() {} });
    assert!(timeout(Duration::from_secs(300), link.ended()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_noticed() {
    let (mut link, _socket) = server();
    link.say(&"x".repeat(64 << 10));
    assert!(matches!(link.ended().await, End::Unknown(why) if why.contains("lost")));
}

#[tokio::test(start_paused = true)]
async fn dropping_disconnects() {
    let (link, mut socket) = server();
    drop(link);
    assert!(!matches!(socket.next().await, Some(Ok(_))));
}

#[test]
fn only_what_certainly_never_ran_is_refused() {
    let api = |code, message: &str| kube::Error::Api(kube::core::Status::failure(message, "").with_code(code).boxed());
    for code in [400, 401, 403, 404, 429] {
        assert!(matches!(not_opened(&api(code, "no")), End::Refused(_)), "{code}");
    }
    for code in [500, 502, 503, 504] {
        assert!(matches!(not_opened(&api(code, "lost")), End::Unknown(_)), "{code}");
    }
    assert!(matches!(not_opened(&api(500, "error dialing backend: refused")), End::Refused(_)));
    assert!(matches!(not_opened(&kube::Error::Service("reset".into())), End::Unknown(_)));
}
