//! Text tables with columns as wide as their widest cell.

use std::io::{self, Write};

use tracer_registry::text::printable;

/// Alignment of a column.
#[derive(Clone, Copy)]
pub(super) enum Align {
    Left,
    Right,
}

/// Writes a header and rows, with two spaces between columns. Escapes the cells.
pub(super) fn write<const N: usize>(
    out: &mut impl Write,
    columns: [(&str, Align); N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let rows: Vec<[String; N]> = rows
        .iter()
        .map(|row| std::array::from_fn(|index| printable(&row[index]).to_string()))
        .collect();
    let width = |index: usize| {
        let cells = rows.iter().map(|row| row[index].chars().count());
        cells.chain([columns[index].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let header: [String; N] = columns.map(|(name, _)| name.to_owned());
    for (index, row) in std::iter::once(&header).chain(&rows).enumerate() {
        let cells = row
            .iter()
            .zip(columns)
            .zip(widths)
            .map(|((cell, (_, align)), width)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
        let line = cells.collect::<Vec<_>>().join("  ");
        let line = line.trim_end();
        let (bold, plain) = if index == 0 { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        writeln!(out, "{bold}{line}{plain}")?;
    }
    Ok(())
}
