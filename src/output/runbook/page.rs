//! The text of a runbook: remarks as comments of a shell, commands as they are typed, so that any part of it can be
//! pasted.

use crate::escape::escape_line;

/// Columns of a remark.
const WIDTH: usize = 110;

/// A runbook while it is written.
#[derive(Default)]
pub(super) struct Page {
    text: String,
    parts: usize,
}

impl Page {
    /// Begins a part of the runbook, with a number.
    pub(super) fn part(&mut self, title: &str) {
        self.parts += 1;
        // On one line whatever it holds: what stands behind a line end would be a command.
        let title: Vec<&str> = title.split_whitespace().collect();
        self.text.push_str(&format!("\n# == {}. {}\n", self.parts, escape_line(&title.join(" "))));
    }

    /// The number of the part that is being written.
    pub(super) fn number(&self) -> usize {
        self.parts
    }

    /// A remark, over as many lines as it needs.
    pub(super) fn say(&mut self, remark: &str) {
        let mut line = String::from("#");
        for word in remark.split_whitespace().map(escape_line) {
            if line.len() + 1 + word.len() > WIDTH && line.len() > 1 {
                self.text.push_str(&line);
                self.text.push('\n');
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(&word);
        }
        self.text.push_str(&line);
        self.text.push('\n');
    }

    /// Commands, as they are.
    pub(super) fn run(&mut self, commands: &str) {
        self.text.push_str(commands.trim_end());
        self.text.push('\n');
    }

    /// Commands to be changed before they are run: as comments, so that nobody runs them as they are.
    pub(super) fn template(&mut self, commands: &str) {
        for line in commands.trim_end().lines().map(escape_line) {
            self.text.push_str(&format!("#   {line}\n"));
        }
    }

    /// All of it.
    pub(super) fn text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_one_line() {
        let mut page = Page::default();
        page.part("a\nrm -rf b");
        assert_eq!((page.number(), page.text().as_str()), (1, "\n# == 1. a rm -rf b\n"));
    }

    #[test]
    fn remarks_hold_no_raw_control_characters() {
        let mut page = Page::default();
        page.part("a\u{1b}[201~\rb");
        page.say("c\u{1b}[201~\rd \u{85}e");
        page.template("f\rg\u{202e}");
        let text = page.text();
        assert_eq!(text, "\n# == 1. a\\u{1b}[201~ b\n# c\\u{1b}[201~ d e\n#   f\\rg\\u{202e}\n");
    }

    #[test]
    fn remarks_are_comments_whatever_their_length() {
        let mut page = Page::default();
        page.say(&"word ".repeat(60));
        page.part("title");
        page.template("a\nb");
        page.run("ls");
        let text = page.text();
        let (commands, remarks): (Vec<&str>, Vec<&str>) =
            text.lines().filter(|line| !line.is_empty()).partition(|line| !line.starts_with('#'));
        assert_eq!(commands, ["ls"]);
        assert!(remarks.iter().all(|line| line.len() <= WIDTH));
        assert_eq!(text.matches("word").count(), 60);
        assert!(text.contains("\n# == 1. title\n#   a\n#   b\n"));
    }
}
