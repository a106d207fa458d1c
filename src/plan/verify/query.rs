//! The user's own questions to the copies: `POD=COMMAND`, or `COMMAND` where there is one database.

use crate::plan::Target;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Number of the target.
    pub target: usize,
    /// As it was typed, without the pod.
    pub command: String,
    /// The same as words. It is run as it is, without a shell around it.
    pub argv: Vec<String>,
}

/// Reads one. A first word with `=` in it names the pod (`POD` or `NAMESPACE/POD`), as no program has such a name.
pub fn read(typed: &str, targets: &[Target]) -> Result<Query, String> {
    let text = typed.trim();
    let first = text.split_whitespace().next().unwrap_or_default();
    let (pod, command) = match first.split_once('=') {
        Some((pod, _)) => (Some(pod), text[pod.len() + 1..].trim()),
        None => (None, text),
    };
    let argv = words(command)?;
    let all = || targets.iter().map(|t| t.pod.as_str()).collect::<Vec<_>>().join(", ");
    let of: Vec<usize> = match pod {
        Some(pod) => {
            let is = |t: &Target| t.pod == pod || format!("{}/{}", t.namespace, t.pod) == pod;
            (0..targets.len()).filter(|&t| is(&targets[t])).collect()
        }
        None => (0..targets.len()).collect(),
    };
    match (of.as_slice(), pod) {
        ([target], _) => Ok(Query { target: *target, command: command.to_owned(), argv }),
        ([], Some(pod)) => Err(format!("the backup has no database in pod {pod}; it has {}", all())),
        (_, Some(pod)) => Err(format!("pod {pod} has several databases")),
        (_, None) => Err(format!("the backup has several databases: write POD=COMMAND with one of {}", all())),
    }
}

/// The words of a command, quoted as in a shell: `'…'` as it is, `"…"` and outside of quotes `\` before a character.
/// Nothing is expanded.
fn words(command: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        let escapes = match quote {
            None => true,
            // As a shell has it: elsewhere in double quotes the backslash is one.
            Some(q) => q == '"' && chars.peek().is_some_and(|next| "\"\\$`".contains(*next)),
        };
        match (c, quote) {
            ('\\', _) if escapes => {
                let next = chars.next().ok_or_else(|| format!("nothing follows the last backslash: {command}"))?;
                word.get_or_insert_default().push(next);
            }
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("a quote is not closed: {command}"));
    }
    words.extend(word);
    if words.is_empty() { Err("there is no command".to_owned()) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quiescer::Probe;

    fn targets(pods: &[&str]) -> Vec<Target> {
        let target = |pod: &&str| Target {
            namespace: "demo".into(),
            pod: (*pod).into(),
            pod_uid: "u".into(),
            container: "db".into(),
            adapter: "postgres".into(),
            probe: Probe::default(),
            wave: 0,
            claims: Vec::new(),
            release: String::new(),
            endpoint: None,
        };
        pods.iter().map(target).collect()
    }

    #[test]
    fn a_question_goes_to_the_named_database() {
        let read = |typed: &str, pods: &[&str]| read(typed, &targets(pods)).map(|q| (q.target, q.argv));
        let argv = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            read("pg-0=psql -Atc \"SELECT count(*) FROM a WHERE b = 'c d'\"", &["my-0", "pg-0"]),
            Ok((1, argv(&["psql", "-Atc", "SELECT count(*) FROM a WHERE b = 'c d'"])))
        );
        assert_eq!(read("demo/my-0=true", &["my-0", "pg-0"]), Ok((0, argv(&["true"]))));
        assert_eq!(read("redis-cli DBSIZE", &["r-0"]), Ok((0, argv(&["redis-cli", "DBSIZE"]))));
        assert_eq!(read("psql -c 'a=b'", &["pg-0"]), Ok((0, argv(&["psql", "-c", "a=b"]))));
        assert_eq!(read("echo $HOME;ls", &["pg-0"]), Ok((0, argv(&["echo", "$HOME;ls"]))), "no shell reads it");
        assert!(read("psql", &["my-0", "pg-0"]).unwrap_err().contains("my-0, pg-0"));
        assert!(read("x=psql", &["pg-0"]).unwrap_err().contains("no database in pod x"));
        assert!(read("pg-0=", &["pg-0"]).unwrap_err().contains("no command"));
        assert!(read("psql 'a", &["pg-0"]).unwrap_err().contains("quote"));
    }

    #[test]
    fn words_are_those_of_a_shell() {
        let read = |text: &str| words(text).unwrap();
        assert_eq!(read(r#"a  "b c"'d e'\ f ''"#), ["a", "b cd e f", ""]);
        assert_eq!(read(r#""a\"b\n" 'x\y' \\"#), [r#"a"b\n"#, r"x\y", r"\"]);
        assert!(words(r"a \").is_err() && words("\"a").is_err());
    }
}
