//! What `list --orphans` prints.

use super::Format;
use super::table::Table;
use crate::error::Error;
use crate::escape::escape_line;
use crate::runs::orphans::OrphanList;

/// The list in this format; a command on a line of its own below each, for it is to be copied.
pub fn list(orphans: &OrphanList, format: Format) -> Result<String, Error> {
    match format {
        Format::Json => super::json(orphans),
        Format::Yaml => super::yaml(orphans),
        Format::Name => Ok(orphans.items.iter().map(|o| escape_line(&o.object)).collect::<Vec<_>>().join("\n")),
        Format::Table | Format::Wide => {
            let mut table = Table::new(["NAMESPACE", "OBJECT", "RUN", "WHY"]);
            for o in &orphans.items {
                table.row([&o.namespace, &o.object, &o.run, &o.why].map(Clone::clone));
            }
            let mut text = format!("{}\n", table.to_string().trim_end());
            for o in &orphans.items {
                text.push_str(&format!("\n{}\n  remove: {}\n", escape_line(&o.object), escape_line(&o.remove)));
                if let Some(adopt) = &o.adopt {
                    text.push_str(&format!("  use:    {}\n", escape_line(adopt)));
                }
            }
            Ok(text)
        }
    }
}
