//! The words of a shell's script, as far as they are needed to see which command gets which.

/// A `$` between single quotes, which no shell replaces.
pub(super) const LITERAL: char = '\u{1}';

/// The commands of a script, each with its words, without quotes and comments. The kubelet replaces `$(NAME)` also
/// between single quotes; every other `$` there is a [`LITERAL`].
pub(super) fn commands(script: &str) -> Vec<Vec<String>> {
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), '$') if chars.peek() != Some(&'(') => add(&mut word, LITERAL),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match chars.next() {
                // A line that goes on.
                Some('\n') | None => {}
                Some('$') => add(&mut word, LITERAL),
                Some(escaped) => add(&mut word, escaped),
            },
            (None, '#') if word.is_none() => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            (None, ';' | '&' | '|' | '\n' | '(' | ')') => {
                end(&mut word, &mut commands);
                commands.push(Vec::new());
            }
            (None, '<' | '>') => end(&mut word, &mut commands),
            (None, c) if c.is_whitespace() => end(&mut word, &mut commands),
            (_, c) => add(&mut word, c),
        }
    }
    end(&mut word, &mut commands);
    commands.retain(|words| !words.is_empty());
    commands
}

fn add(word: &mut Option<String>, c: char) {
    word.get_or_insert_default().push(c);
}

fn end(word: &mut Option<String>, commands: &mut [Vec<String>]) {
    if let (Some(word), Some(last)) = (word.take(), commands.last_mut()) {
        last.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_that_a_shell_passes() {
        let words = |script: &str| commands(script).into_iter().map(|words| words.join(" ")).collect::<Vec<_>>();
        assert_eq!(words("a -p'b c' \"d\" && e | f; g\nh"), ["a -pb c d", "e", "f", "g", "h"]);
        assert_eq!(words("a \\\n  b # c 'd\ne"), ["a b", "e"]);
        assert_eq!(words("echo x >> y"), ["echo x y"]);
        assert_eq!(words("a '$b' \"$c\" '$(D)' \\$e"), [format!("a {LITERAL}b $c $(D) {LITERAL}e")]);
        assert_eq!(words("a ''")[0], "a ");
        assert_eq!(words("a 'open"), ["a open"]);
    }
}
