//! Java's `.properties` files, as `java.util.Properties` reads them: which key has which value, and at which bytes it
//! stands. Placeholders (`${env:NAME}`) are text here.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

/// One definition: `key=value`, over as many lines as it was continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The key, unescaped.
    pub key: String,
    /// The value, unescaped; of several definitions of a key the last one counts.
    pub value: String,
    /// The bytes of the value, up to the end of its last line and without it.
    pub at: Range<usize>,
    /// The same from the first of the key on.
    pub whole: Range<usize>,
}

/// All definitions in their order.
pub fn definitions(text: &str) -> Vec<Definition> {
    let mut all = Vec::new();
    let mut rest = text.char_indices().peekable();
    while rest.peek().is_some() {
        let line = logical_line(&mut rest, text.len());
        all.extend(definition(&line));
    }
    all
}

/// What is in force: of each key the last definition.
pub fn effective(text: &str) -> BTreeMap<String, String> {
    definitions(text).into_iter().map(|d| (d.key, d.value)).collect()
}

/// A line with what continues it, each character with its place; leading blanks and line ends are left out.
struct Line {
    chars: Vec<(usize, char)>,
    end: usize,
}

fn logical_line(rest: &mut Peekable<CharIndices<'_>>, length: usize) -> Line {
    let mut chars: Vec<(usize, char)> = Vec::new();
    // Blanks are skipped at the beginning of each line, also of one that continues another.
    let mut begins = true;
    let mut escaped = false;
    let end = loop {
        let Some((at, c)) = rest.next() else { break length };
        if c == '\n' || c == '\r' {
            if c == '\r' {
                rest.next_if(|(_, next)| *next == '\n');
            }
            if escaped && !is_comment(&chars) {
                chars.pop();
                (begins, escaped) = (true, false);
                continue;
            }
            break at;
        }
        if begins && is_blank(c) {
            continue;
        }
        begins = false;
        escaped = c == '\\' && !escaped;
        chars.push((at, c));
    };
    Line { chars, end }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// A comment is not continued, whatever it ends with.
fn is_comment(chars: &[(usize, char)]) -> bool {
    matches!(chars.first(), Some((_, '#' | '!')))
}

fn definition(line: &Line) -> Option<Definition> {
    if line.chars.is_empty() || is_comment(&line.chars) {
        return None;
    }
    let mut escaped = false;
    let ends = |(_, c): &(usize, char)| {
        let ends = !escaped && (is_blank(*c) || matches!(c, '=' | ':'));
        escaped = *c == '\\' && !escaped;
        ends
    };
    let key_end = line.chars.iter().position(ends).unwrap_or(line.chars.len());
    let (key, rest) = line.chars.split_at(key_end);
    let rest = skip_blanks(rest);
    let rest = match rest.first() {
        Some((_, '=' | ':')) => skip_blanks(&rest[1..]),
        _ => rest,
    };
    let start = rest.first().map_or(line.end, |(at, _)| *at);
    let whole = line.chars[0].0..line.end;
    Some(Definition { key: unescaped(key), value: unescaped(rest), at: start..line.end, whole })
}

fn skip_blanks(chars: &[(usize, char)]) -> &[(usize, char)] {
    let blanks = chars.iter().take_while(|(_, c)| is_blank(*c)).count();
    &chars[blanks..]
}

/// With `\t`, `\u65e5` and the like read; a backslash before anything else is dropped, as Java does.
fn unescaped(chars: &[(usize, char)]) -> String {
    let mut units: Vec<u16> = Vec::new();
    let mut buffer = [0; 2];
    let mut rest = chars.iter().map(|(_, c)| *c);
    while let Some(c) = rest.next() {
        let meant = match (c, c == '\\') {
            (_, false) => c,
            (_, true) => match rest.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let digits: String = rest.clone().take(4).collect();
                    if let (4, Ok(unit)) = (digits.len(), u16::from_str_radix(&digits, 16)) {
                        // Half of a pair may come alone: only both together are a character.
                        units.push(unit);
                        rest.nth(3);
                        continue;
                    }
                    'u'
                }
                Some(other) => other,
                None => continue,
            },
        };
        units.extend_from_slice(meant.encode_utf16(&mut buffer));
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        definitions(text).into_iter().map(|d| (d.key, d.value)).collect()
    }

    #[test]
    fn separators_comments_and_blanks_are_javas() {
        let text = "# a=1\n  ! b=2\n\n a = 1 \nb:2\nc 3\nd\t=\t4\ne\nf=\ng==5\nh : = 6\n\u{c}i=7";
        let found = read(text);
        let expected = [
            ("a", "1 "),
            ("b", "2"),
            ("c", "3"),
            ("d", "4"),
            ("e", ""),
            ("f", ""),
            ("g", "=5"),
            ("h", "= 6"),
            ("i", "7"),
        ];
        assert_eq!(found, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn lines_are_continued_by_an_odd_backslash_only() {
        let text = "a=1,\\\n   2,\\\r\n\t3\nb=x\\\\\nc=y\\\\\\\n# z\n# no \\\nd=4\ne=5\\\n\nf=6\\";
        let expected = [("a", "1,2,3"), ("b", "x\\"), ("c", "y\\# z"), ("d", "4"), ("e", "5"), ("f", "6")];
        assert_eq!(read(text), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn escapes_are_read_and_placeholders_kept() {
        let text = r"a\=b\ c\:d=\u65e5\ud83d\ude00\t\q\u12
p=${env:SCALAR_DB_CONTACT_POINTS:-}
y=jdbc:yugabytedb://127.0.0.1:5433\\,127.0.0.2:5433/";
        let expected = [
            ("a=b c:d", "日😀\tqu12"),
            ("p", "${env:SCALAR_DB_CONTACT_POINTS:-}"),
            ("y", r"jdbc:yugabytedb://127.0.0.1:5433\,127.0.0.2:5433/"),
        ];
        assert_eq!(read(text), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn the_last_definition_counts_and_each_tells_its_place() {
        let text = "a=1\r\na = 2\\\r\n  3\rb=é\r\nc=\r\n";
        assert_eq!(effective(text)["a"], "23");
        let places: Vec<&str> = definitions(text).into_iter().map(|d| &text[d.at]).collect();
        assert_eq!(places, ["1", "2\\\r\n  3", "é", ""]);
        let wholes: Vec<&str> = definitions(text).into_iter().map(|d| &text[d.whole]).collect();
        assert_eq!(wholes, ["a=1", "a = 2\\\r\n  3", "b=é", "c="]);
        assert_eq!(definitions(text)[3].at.start, text.len() - 2);
    }
}
