//! Tables for people: columns two blanks apart, no lines, so that they can be cut and searched.

use comfy_table::{Table, presets};
use shared::error::Result;

use crate::terminal::{self, Out};

/// Prints a table. Cells are foreign text: each is made to fit one line, on a terminal or not.
pub fn show<const N: usize>(
    out: &mut Out,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| terminal::line(&cell)));
    }
    table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 2)));
    out.text(&table.trim_fmt())
}

/// Prints names with their values, one pair a line.
pub fn pairs(out: &mut Out, pairs: &[(&str, String)]) -> Result<()> {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().try_for_each(|(name, value)| out.line(&format!("{name:width$}  {value}")))
}

/// A value that may be absent.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
