//! What the messages of `v4.channel.k8s.io` and `v5.channel.k8s.io` say: one byte for the stream, then its bytes.

use kube::core::Status;

use crate::cluster::errors::one_line;
use crate::quiescer::End;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;

/// One message from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Out(&'a [u8]),
    Err(&'a [u8]),
    End(End),
    /// Empty first messages, v5's note that a stream was closed, streams of the future.
    Nothing,
}

pub(super) fn decode(message: &[u8]) -> Frame<'_> {
    match message {
        [STDOUT, bytes @ ..] if !bytes.is_empty() => Frame::Out(bytes),
        [STDERR, bytes @ ..] if !bytes.is_empty() => Frame::Err(bytes),
        [STATUS, bytes @ ..] if !bytes.is_empty() => Frame::End(ended(bytes)),
        _ => Frame::Nothing,
    }
}

/// Text for the command's standard input.
pub(super) fn encode(text: &str) -> Vec<u8> {
    [&[STDIN], text.as_bytes()].concat()
}

/// A code only if the status names one: a status that is merely a failure may hide a command that did its work.
fn ended(status: &[u8]) -> End {
    let Ok(status) = serde_json::from_slice::<Status>(status) else {
        let text = String::from_utf8_lossy(status);
        return End::Unknown(format!("an end that cannot be read: {}", one_line(&text)));
    };
    if status.is_success() {
        return End::Exited(0);
    }
    let causes = status.details.iter().flat_map(|d| &d.causes);
    let code = causes.filter(|c| c.reason == "ExitCode").find_map(|c| c.message.parse().ok());
    // The kubelet's error inside the API server's: once is enough.
    let text = one_line(status.message.trim_start_matches("Internal error occurred: "));
    match code {
        Some(code) => End::Exited(code),
        None if never_ran(&status.message) => End::Refused(text),
        None => End::Unknown(text),
    }
}

/// Whether the server's text says that no command was started. A newer API server accepts the WebSocket before it
/// asks the kubelet, so that what used to be a refused connection now comes as an end.
pub(super) fn never_ran(message: &str) -> bool {
    [
        "unable to upgrade connection",
        "error dialing backend",
        "container not found",
        "unable to start container process",
    ]
    .iter()
    .any(|text| message.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: &str) -> End {
        match decode(&[&[3], json.as_bytes()].concat()) {
            Frame::End(end) => end,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn streams_are_told_apart() {
        assert_eq!(decode(b"\x01out"), Frame::Out(b"out"));
        assert_eq!(decode(b"\x02err"), Frame::Err(b"err"));
        for nothing in [&b""[..], b"\x01", b"\x02", b"\x03", b"\x00in", b"\x04{}", b"\xff\x01"] {
            assert_eq!(decode(nothing), Frame::Nothing, "{nothing:?}");
        }
        assert_eq!(encode("a\n"), b"\x00a\n");
    }

    #[test]
    fn a_code_is_only_what_the_status_says() {
        assert_eq!(status(r#"{"status":"Success"}"#), End::Exited(0));
        let failed = r#"{"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with non-zero exit code",
            "details":{"causes":[{"reason":"ExitCode","message":"137"}]}}"#;
        assert_eq!(status(failed), End::Exited(137));
    }

    #[test]
    fn a_failure_without_a_code_is_unknown() {
        let lost = r#"{"status":"Failure","reason":"InternalError","message":"error stream\n closed"}"#;
        assert_eq!(status(lost), End::Unknown("error stream closed".into()));
        assert!(matches!(status("{"), End::Unknown(_)));
        assert!(matches!(status("{}"), End::Unknown(_)));
        let odd = r#"{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"many"}]}}"#;
        assert!(matches!(status(odd), End::Unknown(_)));
    }

    #[test]
    fn a_command_that_never_ran_is_refused() {
        let gone = r#"{"status":"Failure","reason":"InternalError",
            "message":"unable to upgrade connection: container not found (\"db\")"}"#;
        assert!(matches!(status(gone), End::Refused(_)));
    }
}
