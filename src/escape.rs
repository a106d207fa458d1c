//! Escapes for characters that a terminal obeys instead of showing.
//!
//! Texts from databases, records and the API server reach the terminal. In them, `ESC[2K` would paint over the real outcome,
//! OSC 52 would fill the clipboard, and a bidirectional mark would make one command look like another.

/// Whether a terminal obeys this character: C0, DEL, C1, and the bidirectional marks of Unicode (UAX #9).
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes every such character, line ends included: `\n`, `\t`, `\u{1b}`.
pub fn escape_line(text: &str) -> String {
    escape(text, is_obeyed)
}

/// Escapes all but line ends and tabs, for texts whose lines are our own.
pub fn escape_block(text: &str) -> String {
    escape(text, |c| is_obeyed(c) && !matches!(c, '\n' | '\t'))
}

/// Escapes a JSON document the JSON way (`\u202e`). Outside of strings it holds no such character but line ends.
pub fn escape_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) && c != '\n' {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn escape(text: &str, which: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if which(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obeyed_characters_are_escaped() {
        assert_eq!(escape_line("a\u{1b}[31mb\r\n\tc"), "a\\u{1b}[31mb\\r\\n\\tc");
        assert_eq!(escape_block("a\u{1b}[31mb\r\n\tc"), "a\\u{1b}[31mb\\r\n\tc");
        for c in ['\0', '\u{7}', '\u{8}', '\u{7f}', '\u{85}', '\u{9b}', '\u{9d}', '\u{61c}', '\u{200e}', '\u{200f}']
            .into_iter()
            .chain('\u{202a}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}')
        {
            let shown = format!("\\u{{{:x}}}", u32::from(c));
            assert_eq!(escape_line(&c.to_string()), shown);
            assert_eq!(escape_block(&c.to_string()), shown);
        }
    }

    #[test]
    fn ordinary_text_stays() {
        for text in ["", "postgres-0: ok", "ключ=値 é 👍🏽", "C:\\x", "שלום"] {
            assert_eq!((escape_line(text), escape_block(text)), (text.to_owned(), text.to_owned()));
        }
    }

    #[test]
    fn escaped_json_has_the_same_content() {
        let text = serde_json::json!({"a\u{202e}": "\u{9b}2J\u{7f}\u{1b}\n\u{2066}"}).to_string();
        let escaped = escape_json(&text);
        assert!(!escaped.contains(is_obeyed), "{escaped}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&escaped), read(&text));
    }
}
