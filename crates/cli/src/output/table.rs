//! Tables without borders, and lists of facts.

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets::NOTHING};

use super::{Tone, View, clean};

/// Rows under headings.
pub struct Sheet<'a> {
    view: &'a View,
    table: Table,
}

/// One cell: its text and its tone.
pub type Word = (String, Tone);

/// A cell without a tone.
pub fn plain(text: impl Into<String>) -> Word {
    (text.into(), Tone::Plain)
}

/// A cell whose text is a state's name.
pub fn state(text: &str) -> Word {
    (text.to_owned(), Tone::of(text))
}

/// A cell that may be empty.
pub fn maybe(text: Option<&str>) -> Word {
    plain(text.unwrap_or("-"))
}

fn base(view: &View) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if view.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

fn cell((text, tone): Word) -> Cell {
    let cell = Cell::new(clean(&text));
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Warn => cell.fg(Color::DarkYellow),
        Tone::Bad => cell.fg(Color::DarkRed),
        Tone::Dim => cell.add_attribute(Attribute::Dim),
    }
}

fn finish(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.trim_fmt();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

impl<'a> Sheet<'a> {
    /// A table with these headings.
    pub fn new(view: &'a View, headings: &[&str]) -> Self {
        let mut table = base(view);
        table.set_header(headings.iter().map(|h| Cell::new(h).add_attribute(Attribute::Bold)));
        Self { view, table }
    }

    /// Adds a row.
    pub fn row(&mut self, words: impl IntoIterator<Item = Word>) -> &mut Self {
        self.table.add_row(words.into_iter().map(cell));
        self
    }

    /// Sets numbers flush right.
    pub fn right(mut self, columns: &[usize]) -> Self {
        for index in columns {
            if let Some(column) = self.table.column_mut(*index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// The text, without a line break at its end.
    pub fn finish(self) -> String {
        finish(self.table)
    }

    /// The view that the table is drawn for.
    pub fn view(&self) -> &View {
        self.view
    }
}

/// Facts: a name and a value on each line.
pub struct Facts {
    table: Table,
}

impl Facts {
    /// No facts yet.
    pub fn new(view: &View) -> Self {
        Self { table: base(view) }
    }

    /// Adds a fact.
    pub fn fact(mut self, name: &str, value: Word) -> Self {
        let name = Cell::new(name).add_attribute(Attribute::Dim);
        self.table.add_row([name, cell(value)]);
        self
    }

    /// Adds a fact if there is a value.
    pub fn some(self, name: &str, value: Option<String>) -> Self {
        match value {
            Some(value) => self.fact(name, plain(value)),
            None => self,
        }
    }

    /// The text, indented.
    pub fn finish(self) -> String {
        indent(&finish(self.table))
    }
}

/// Every line two columns in.
pub fn indent(text: &str) -> String {
    let lines: Vec<String> =
        text.lines().map(|line| format!("  {line}").trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tests::plain as view;

    #[test]
    fn columns_line_up_without_borders() {
        let view = view();
        let mut sheet = Sheet::new(&view, &["NAME", "STATUS"]);
        sheet.row([plain("web-1"), state("approved")]).row([plain("長い名前"), state("pending")]);
        assert_eq!(sheet.finish(), "NAME      STATUS\nweb-1     approved\n長い名前  pending");
    }

    #[test]
    fn a_cell_cannot_break_its_row() {
        let view = view();
        let mut sheet = Sheet::new(&view, &["NAME"]);
        sheet.row([plain("a\nb\u{1b}[31m")]);
        assert_eq!(sheet.finish().lines().count(), 2);
    }

    #[test]
    fn colour_needs_a_view_with_colour() {
        let view = View { colour: true, ..view() };
        let mut sheet = Sheet::new(&view, &["STATUS"]);
        sheet.row([state("revoked")]);
        let text = sheet.finish();
        assert!(text.contains("\u{1b}[") && text.contains("revoked"), "{text:?}");
    }
}
