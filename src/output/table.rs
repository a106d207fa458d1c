//! A table like kubectl's: upper-case headings, three spaces between columns, no lines, nothing wrapped or cut off.

use std::fmt;

use comfy_table::{ContentArrangement, presets};

use crate::escape::escape_line;

/// Rows under headings.
pub struct Table(comfy_table::Table);

impl Table {
    /// An empty table with these headings.
    pub fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        let mut table = comfy_table::Table::new();
        // A wrapped or shortened name could no longer be pasted into the next command.
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(headings);
        Self(table)
    }

    /// Adds a row. An empty cell would look like a missing column to `awk`, so it is printed as `<none>`. A line end in
    /// a cell would look like another row, so it is escaped.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells = cells.into_iter().map(Into::into);
        self.0.add_row(cells.map(|c: String| if c.is_empty() { "<none>".into() } else { escape_line(&c) }));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = self.0.clone();
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        for line in table.trim_fmt().lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_spaces_and_nothing_at_the_end() {
        let mut table = Table::new(["NAME", "READY", "NODE"]);
        table.row(["a-long-name", "1/1", "n1"]);
        table.row(["b", "", ""]);
        assert_eq!(
            table.to_string(),
            "NAME          READY    NODE\n\
             a-long-name   1/1      n1\n\
             b             <none>   <none>\n"
        );
    }

    #[test]
    fn control_characters_in_a_cell_are_escaped() {
        let mut table = Table::new(["NAME", "READY"]);
        table.row(["a\u{1b}[2K\nb", "1/1"]);
        assert_eq!(table.to_string(), "NAME            READY\na\\u{1b}[2K\\nb   1/1\n");
    }

    #[test]
    fn long_cells_stay_whole() {
        let mut table = Table::new(["NAME"]);
        table.row(["x".repeat(300)]);
        assert_eq!(table.to_string().lines().last(), Some("x".repeat(300).as_str()));
    }
}
