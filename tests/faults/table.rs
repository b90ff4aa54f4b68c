//! What is printed: a line for each cell as it ends, and a table that can be pasted into a page.

use crate::cell::Row;

/// One line, when the cell is over.
pub fn line(row: &Row) {
    let verdict = if row.wrong.is_empty() { "ok    " } else { "FAILED" };
    let took = row.took.as_secs_f64();
    let counts = format!("{} commands, {} runs; {}", row.tally.commands, row.tally.runs, row.tally.ends());
    println!("{verdict} {:<44} {took:6.1} s  {counts}", row.name);
    row.wrong.iter().for_each(|wrong| println!("       {wrong}"));
}

/// All of them as Markdown.
pub fn markdown(rows: &[Row]) {
    println!("\n| cell | fault | commands | runs | ends | seconds | verdict |\n|---|---|---|---|---|---|---|");
    for Row { name, what, took, tally, wrong } in rows {
        let (commands, runs, ends, took) = (tally.commands, tally.runs, tally.ends(), took.as_secs());
        let verdict = if wrong.is_empty() { "ok" } else { "**failed**" };
        println!("| {name} | {what} | {commands} | {runs} | {ends} | {took} | {verdict} |");
    }
    let sum = |count: fn(&Row) -> usize| rows.iter().map(count).sum::<usize>();
    let failed = sum(|row| usize::from(!row.wrong.is_empty()));
    println!(
        "\n{} cells, {} commands, {} runs, {} violations; {failed} failed",
        rows.len(),
        sum(|row| row.tally.commands),
        sum(|row| row.tally.runs),
        sum(|row| row.tally.violations.len()),
    );
}
