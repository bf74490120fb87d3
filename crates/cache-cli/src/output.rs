//! What is written for people: colours, tables, complaints.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use cache_run::{Paint, Tone};
use comfy_table::{CellAlignment, ContentArrangement, Table};

/// Columns assumed where a terminal does not say how many it has.
const DEFAULT_COLUMNS: u16 = 80;

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// Returns the choice that `word` names.
    pub(crate) fn named(word: &str) -> Self {
        match word {
            "always" => Self::Always,
            "never" => Self::Never,
            _ => Self::Auto,
        }
    }

    /// Returns how to paint on standard output.
    pub(crate) fn stdout(self) -> Painter {
        self.painter(io::stdout().is_terminal(), env)
    }

    /// Returns how to paint on standard error.
    pub(crate) fn stderr(self) -> Painter {
        self.painter(io::stderr().is_terminal(), env)
    }

    /// Decides as <https://no-color.org> and <https://bixense.com/clicolors> ask for.
    fn painter(self, terminal: bool, env: impl Fn(&str) -> Option<String>) -> Painter {
        let set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
        Painter(match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if set("NO_COLOR") => false,
            Self::Auto if env("CLICOLOR_FORCE").is_some_and(|value| !matches!(value.as_str(), "" | "0")) => {
                true
            }
            Self::Auto => terminal && env("TERM").is_none_or(|term| term != "dumb"),
        })
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Paints with the sixteen colours that every terminal has, or not at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Painter(bool);

impl Painter {
    /// Returns whether it paints at all.
    #[cfg(feature = "server")]
    pub(crate) fn is_on(self) -> bool {
        self.0
    }

    /// Returns `text` as a heading.
    pub(crate) fn heading(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// Returns `text` as bad news.
    pub(crate) fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Paint for Painter {
    fn paint(&self, tone: Tone, text: &str) -> String {
        match tone {
            Tone::Good => self.wrap("32", text),
            Tone::Plain => self.wrap("36", text),
            Tone::Warn => self.wrap("33", text),
            Tone::Dim => self.wrap("2", text),
        }
    }
}

/// Returns standard output, buffered: one write for a table, not one for each line.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Writes an error to standard error. Nobody can be told if that fails.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "vitte-cache: {message}");
}

/// Writes a warning to standard error.
pub(crate) fn warn(message: &str) {
    complain(&format!("warning: {message}"));
}

/// Writes a remark to standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes `value` as one line of JSON.
pub(crate) fn json_line(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Returns `text` with control characters made visible: names come from others, and terminals obey them.
pub(crate) fn visible(text: &str) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.to_owned() }
}

/// A column of a table.
#[derive(Clone, Copy)]
pub(crate) enum Column {
    Left(&'static str),
    Right(&'static str),
}

/// Returns a table with a painted head that fits the terminal; longer cells are cut. Without a terminal nothing is cut.
pub(crate) fn table(columns: &[Column], rows: Vec<Vec<String>>, painter: Painter) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    match width() {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table.set_header(columns.iter().map(|column| match column {
        Column::Left(name) | Column::Right(name) => *name,
    }));
    for row in rows {
        let mut row = comfy_table::Row::from(row);
        row.max_height(1);
        table.add_row(row);
    }
    for (index, column) in columns.iter().enumerate() {
        if let (Column::Right(_), Some(cells)) = (column, table.column_mut(index)) {
            cells.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        // The preset keeps one blank in front of each line.
        let line = line.strip_prefix(' ').unwrap_or(line);
        text.push_str(&if number == 0 { painter.heading(line) } else { line.to_owned() });
        text.push('\n');
    }
    text
}

/// Returns the columns of the terminal that standard output is, if it is one.
fn width() -> Option<u16> {
    if !io::stdout().is_terminal() {
        return None;
    }
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stdout())
        && size.ws_col > 0
    {
        return Some(size.ws_col);
    }
    Some(env("COLUMNS").and_then(|columns| columns.parse().ok()).unwrap_or(DEFAULT_COLUMNS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conventions_for_colours() {
        for (color, vars, terminal, expected) in [
            (Color::Auto, &[][..], true, true),
            (Color::Auto, &[], false, false),
            (Color::Auto, &[("NO_COLOR", "1")], true, false),
            (Color::Auto, &[("NO_COLOR", "")], true, true),
            (Color::Auto, &[("CLICOLOR_FORCE", "1")], false, true),
            (Color::Auto, &[("CLICOLOR_FORCE", "0")], false, false),
            (Color::Auto, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], true, false),
            (Color::Auto, &[("TERM", "dumb")], true, false),
            (Color::Always, &[("NO_COLOR", "1")], false, true),
            (Color::Never, &[("CLICOLOR_FORCE", "1")], true, false),
        ] {
            let env =
                |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(color.painter(terminal, env).0, expected, "{color:?} {vars:?} {terminal}");
        }
    }

    #[test]
    fn tables_line_up_and_keep_names_harmless() {
        let rows =
            vec![vec!["docs".to_owned(), "38 MB".to_owned()], vec![visible("evil\x1b[2J"), "1 B".to_owned()]];
        let text = table(&[Column::Left("name"), Column::Right("size")], rows, Painter(false));
        assert_eq!(text, "name            size\ndocs           38 MB\nevil\\u{1b}[2J    1 B\n");
    }
}
