//! What came back from a command and was not asked for yet, bounded.

/// The longest answer. What is longer is no answer: a part of it could be read as the whole. A list of all clients of a
/// Redis that takes no more of them (`maxclients`, 10000) has some 3 MiB.
const MOST_OUT: usize = 8 << 20;
/// How much of standard error is kept: its end, where the reason stands.
const MOST_ERR: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Heard {
    out: Vec<u8>,
    err: Vec<u8>,
    err_cut: bool,
    too_long: bool,
}

impl Heard {
    pub(super) fn out(&mut self, bytes: &[u8]) {
        // Past the limit it is still taken from the connection, or the command would block on writing.
        if self.out.len() + bytes.len() > MOST_OUT {
            self.too_long = true;
        } else {
            self.out.extend_from_slice(bytes);
        }
    }

    pub(super) fn err(&mut self, bytes: &[u8]) {
        self.err.extend_from_slice(bytes);
        if self.err.len() > 2 * MOST_ERR {
            self.cut_err();
        }
    }

    fn cut_err(&mut self) {
        if self.err.len() > MOST_ERR {
            self.err.drain(..self.err.len() - MOST_ERR);
            self.err_cut = true;
        }
    }

    pub(super) fn too_long(&self) -> bool {
        self.too_long
    }

    /// What stands before the first line that equals `until`, and takes both out. `from` is where to go on looking,
    /// 0 for a new question.
    pub(super) fn until(&mut self, until: &str, from: &mut usize) -> Option<String> {
        while let Some(length) = self.out[*from..].iter().position(|&b| b == b'\n') {
            let end = *from + length;
            let line = &self.out[*from..end];
            if line.strip_suffix(b"\r").unwrap_or(line) == until.as_bytes() {
                let answer = String::from_utf8_lossy(&self.out[..*from]).into_owned();
                self.out.drain(..=end);
                *from = 0;
                return Some(answer);
            }
            *from = end + 1;
        }
        None
    }

    pub(super) fn forget_out(&mut self) {
        self.out.clear();
        self.too_long = false;
    }

    pub(super) fn take_out(&mut self) -> String {
        self.too_long = false;
        String::from_utf8_lossy(&std::mem::take(&mut self.out)).into_owned()
    }

    pub(super) fn take_err(&mut self) -> String {
        self.cut_err();
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.err)).into_owned();
        if std::mem::take(&mut self.err_cut) { format!("…{text}") } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(parts: &[&str]) -> Heard {
        let mut heard = Heard::default();
        for part in parts {
            heard.out(part.as_bytes());
        }
        heard
    }

    #[test]
    fn a_marker_is_a_whole_line() {
        for (text, answer) in [
            ("a\nb\nEND\nrest", Some("a\nb\n")),
            ("END\n", Some("")),
            ("a\r\nEND\r\n", Some("a\r\n")),
            ("aEND\n", None),
            ("END of it\n", None),
            (" END\n", None),
            ("END", None),
            ("", None),
        ] {
            assert_eq!(heard(&[text]).until("END", &mut 0).as_deref(), answer, "{text:?}");
        }
    }

    #[test]
    fn a_marker_may_be_split_anywhere() {
        let text = "one\ntwo\nEND\n";
        for cut in 0..text.len() {
            let mut heard = Heard::default();
            let mut from = 0;
            heard.out(&text.as_bytes()[..cut]);
            assert_eq!(heard.until("END", &mut from), None, "{cut}");
            heard.out(&text.as_bytes()[cut..]);
            assert_eq!(heard.until("END", &mut from).as_deref(), Some("one\ntwo\n"), "{cut}");
        }
    }

    #[test]
    fn what_comes_after_a_marker_is_the_next_answer() {
        let mut heard = heard(&["1\nA\n2\nB\n"]);
        assert_eq!(heard.until("A", &mut 0).as_deref(), Some("1\n"));
        assert_eq!(heard.until("B", &mut 0).as_deref(), Some("2\n"));
        assert_eq!(heard.take_out(), "");
    }

    #[test]
    fn both_streams_are_bounded() {
        let mut heard = Heard::default();
        for _ in 0..=MOST_OUT / (32 << 10) {
            heard.out(&vec![b'x'; 32 << 10]);
            heard.err(&vec![b'y'; 32 << 10]);
        }
        heard.err(b"the reason");
        assert!(heard.too_long() && heard.out.len() <= MOST_OUT && heard.err.len() <= 2 * MOST_ERR);
        let err = heard.take_err();
        assert!(err.starts_with('…') && err.ends_with("the reason") && err.len() == MOST_ERR + '…'.len_utf8());
        heard.forget_out();
        assert!(!heard.too_long());
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let mut heard = Heard::default();
        heard.out(b"\xff\xfe\nEND\n");
        assert!(heard.until("END", &mut 0).is_some());
    }
}
