//! What the API server or the way to it said, in one line, and which answers mean what.

use kube::Error;
use kube::client::AuthError;
use kube::core::Status;

use super::credential_plugin::Failure;

fn status(error: &Error) -> Option<&Status> {
    match error {
        Error::Api(status) => Some(status),
        _ => None,
    }
}

/// The object does not exist.
pub fn is_not_found(error: &Error) -> bool {
    status(error).is_some_and(|s| s.code == 404)
}

/// A precondition did not hold: somebody else wrote in between, or our own lost write did.
pub fn is_conflict(error: &Error) -> bool {
    status(error).is_some_and(|s| s.code == 409 && s.reason != "AlreadyExists")
}

/// A create found the name taken: by somebody else, or by our own lost write.
pub fn is_already_exists(error: &Error) -> bool {
    status(error).is_some_and(|s| s.code == 409 && s.reason == "AlreadyExists")
}

/// Access control said no.
pub fn is_forbidden(error: &Error) -> bool {
    status(error).is_some_and(|s| s.code == 403)
}

/// Worth asking again: the server was busy or absent, or the answer was lost. The request may have had its effect.
pub fn is_transient(error: &Error) -> bool {
    match error {
        Error::Api(status) => status.code == 429 || status.code >= 500,
        Error::HyperError(_) | Error::Service(_) | Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// Nothing was sent: the connection was never made, or there was no credential for it.
pub fn is_unsent(error: &Error) -> bool {
    causes(error).any(|e| {
        e.is::<Failure>()
            || e.downcast_ref::<hyper_util::client::legacy::Error>()
                .is_some_and(hyper_util::client::legacy::Error::is_connect)
    })
}

/// The credentials could not be obtained.
pub(crate) fn is_without_credentials(error: &Error) -> bool {
    matches!(error, Error::Auth(_)) || causes(error).any(|e| e.is::<Failure>() || e.is::<AuthError>())
}

/// The user's credential plugin does not exist.
pub(crate) fn is_plugin_missing(error: &Error) -> bool {
    causes(error).any(|e| e.downcast_ref::<Failure>().is_some_and(Failure::is_missing))
}

fn causes(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |e| e.source())
}

/// Why objects could not be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// Access control forbids it, or there is no such kind in the cluster.
    Never(String),
    /// It may work another time: nobody knows what is there.
    Unknown(String),
}

impl Unlisted {
    /// After this answer to a list of these.
    pub fn of(what: &str, error: &Error) -> Self {
        let why = format!("{what} could not be listed: {}", explain(error));
        if is_forbidden(error) || is_not_found(error) { Self::Never(why) } else { Self::Unknown(why) }
    }

    /// After no answer.
    pub fn silent(what: &str) -> Self {
        Self::Unknown(format!("{what} could not be listed: the API server did not answer"))
    }
}

impl std::fmt::Display for Unlisted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Never(why) | Self::Unknown(why) => f.write_str(why),
        }
    }
}

/// What was listed, or nothing for who may not look at all; no answer is not "none".
pub fn allowed<T>(listed: Result<Vec<T>, Unlisted>) -> Result<Vec<T>, String> {
    match listed {
        Ok(found) => Ok(found),
        Err(Unlisted::Never(_)) => Ok(Vec::new()),
        Err(Unlisted::Unknown(why)) => Err(why),
    }
}

/// The error in one short line; kube's own text repeats the whole status in debug form.
pub fn explain(error: &Error) -> String {
    let text = match error {
        Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        Error::Api(status) => format!("the server answered {} {}", status.code, status.reason),
        Error::Auth(e) => credentials(e),
        Error::SerdeError(e) => format!("the server's answer cannot be read: {e}"),
        Error::Service(e) => e.downcast_ref().map_or_else(|| chain(e.as_ref()), credentials),
        Error::HyperError(e) => chain(e),
        // kube's own text repeats the proxy's URL with its password.
        Error::ProxyProtocolUnsupported { .. } | Error::ProxyProtocolDisabled { .. } => {
            "the proxy's URL has a scheme that is not known".to_owned()
        }
        Error::UpgradeConnection(e) => format!("no WebSocket: {}", chain(e)),
        other => chain(other),
    };
    one_line(&plain(&text))
}

/// Why credentials could not be obtained. kube's own texts quote the environment, arguments and output of the program that
/// returns them.
fn credentials(error: &AuthError) -> String {
    let why = match error {
        AuthError::AuthExecRun { .. }
        | AuthError::AuthExecParse(_)
        | AuthError::AuthExec(_)
        | AuthError::AuthExecSerialize(_)
        | AuthError::ParseTokenKey(_) => "the program that returns them failed".to_owned(),
        other => chain(other),
    };
    format!("cannot get credentials: {why}")
}

/// Without what is of use only to who writes a program.
pub(crate) fn plain(text: &str) -> String {
    text.replace("client error (Connect): ", "cannot connect: ")
        .replace("tcp connect error: ", "")
        .replace("peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof", "the connection was closed")
}

/// The chain of causes, each once: some libraries print their cause in their own text too.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let next = e.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = e.source();
    }
    text
}

/// Without line breaks and not longer than a terminal's few lines: an HTML page from a proxy is not an error message.
pub(crate) fn one_line(text: &str) -> String {
    const MOST: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, reason: &str, message: &str) -> Error {
        Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    #[test]
    fn a_conflict_is_not_a_taken_name() {
        let (conflict, taken) = (api(409, "Conflict", ""), api(409, "AlreadyExists", ""));
        assert!(is_conflict(&conflict) && !is_already_exists(&conflict));
        assert!(is_already_exists(&taken) && !is_conflict(&taken));
    }

    #[test]
    fn only_a_final_no_is_none() {
        let listed = |error: Error| allowed::<u8>(Err(Unlisted::of("things", &error)));
        assert_eq!(listed(api(403, "Forbidden", "no")), Ok(Vec::new()));
        assert_eq!(listed(api(404, "NotFound", "no such resource")), Ok(Vec::new()));
        assert_eq!(listed(api(500, "InternalError", "x")), Err("things could not be listed: x".into()));
        assert!(allowed::<u8>(Err(Unlisted::silent("things"))).is_err());
    }

    #[test]
    fn a_refusal_is_not_transient_but_a_lost_answer_is() {
        for code in [400, 401, 403, 404, 409, 422] {
            assert!(!is_transient(&api(code, "", "")), "{code}");
        }
        for code in [429, 500, 502, 503, 504] {
            assert!(is_transient(&api(code, "", "")), "{code}");
        }
        assert!(is_transient(&Error::Service("connection reset".into())));
    }

    #[test]
    fn errors_of_kube_about_credentials_quote_no_program() {
        let ran = || {
            let command = std::process::Command::new("sh").args(["-c", "echo out-secret; exit 1"]).output().unwrap();
            AuthError::AuthExecRun { cmd: "TOKEN=env-secret sh arg-secret".into(), out: Box::new(command) }
        };
        for error in [Error::Auth(ran()), Error::Service(Box::new(ran()))] {
            let text = explain(&error);
            assert!(text.starts_with("cannot get credentials: ") && !text.contains("secret"), "{text}");
            assert!(is_without_credentials(&error));
        }
        assert!(!is_without_credentials(&Error::Service("reset".into())));
    }

    #[test]
    fn texts_are_one_line_without_the_debug_status() {
        assert_eq!(explain(&api(403, "Forbidden", "pods \"x\" is forbidden:\n  no")), "pods \"x\" is forbidden: no");
        assert_eq!(explain(&api(504, "GatewayTimeout", "")), "the server answered 504 GatewayTimeout");
        assert_eq!(explain(&Error::Service("reset".into())), "reset");
        assert_eq!(one_line(&"x".repeat(500)).chars().count(), 401);
    }
}
