//! What a command answers: for people as text, with `--json` as JSON.

use std::fmt::Write as _;
use std::io::Write as _;

/// A line on standard error; that nobody reads it is no failure.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A value of JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// Everything was said already: not printed.
    Silent,
    /// Nothing is known.
    Null,
    /// Truth.
    Bool(bool),
    /// A number.
    Number(u64),
    /// Text.
    Text(String),
    /// Values in order.
    List(Vec<Json>),
    /// Named values in order.
    Object(Vec<(&'static str, Json)>),
    /// The same, with names that are not known here.
    Map(Vec<(String, Json)>),
}

impl Json {
    /// Text.
    pub fn text(text: impl Into<String>) -> Json {
        Json::Text(text.into())
    }

    /// Texts in order.
    pub fn texts<S: AsRef<str>>(texts: &[S]) -> Json {
        Json::List(texts.iter().map(|text| Json::text(text.as_ref())).collect())
    }

    fn write(&self, out: &mut String) {
        match self {
            Json::Silent => {}
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(value) => {
                let _ = write!(out, "{value}");
            }
            Json::Text(text) => quote(text, out),
            Json::List(values) => {
                out.push('[');
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    value.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => object(members.iter().map(|(name, value)| (*name, value)), out),
            Json::Map(members) => object(members.iter().map(|(name, value)| (name.as_str(), value)), out),
        }
    }
}

fn object<'a>(members: impl Iterator<Item = (&'a str, &'a Json)>, out: &mut String) {
    out.push('{');
    for (at, (name, value)) in members.enumerate() {
        if at > 0 {
            out.push(',');
        }
        quote(name, out);
        out.push(':');
        value.write(out);
    }
    out.push('}');
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// An answer in both forms.
pub struct Report {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Json,
}

impl Report {
    /// Nothing to say.
    pub fn done() -> Report {
        Report { text: String::new(), json: Json::Object(vec![("done", Json::Bool(true))]) }
    }

    /// Everything was said already.
    pub fn silent() -> Report {
        Report { text: String::new(), json: Json::Silent }
    }

    /// An answer in the form asked for, its last newline included.
    pub fn form(&self, json: bool) -> String {
        let mut out = String::new();
        if json {
            self.json.write(&mut out);
        } else {
            out.push_str(&self.text);
        }
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out
    }
}

/// Rows of cells in columns; numbers of the last columns stay readable because none is cut.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Bytes in the largest unit that leaves something before the point.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = (0..UNITS.len() - 1).take_while(|unit| bytes >> (10 * (unit + 1)) > 0).count();
    let whole = bytes >> (10 * unit);
    let tenths = if unit == 0 { 0 } else { (bytes >> (10 * (unit - 1))) % 1024 * 10 / 1024 };
    match tenths {
        0 => format!("{whole} {}", UNITS[unit]),
        tenths => format!("{whole}.{tenths} {}", UNITS[unit]),
    }
}

/// Seconds in words of two units at most.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86400, seconds % 86400 / 3600),
    }
}

/// At most `width` characters; the middle of what is longer is left out: names differ at their ends.
pub fn shorten(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let head = width.saturating_sub(1) / 3;
    let tail = width.saturating_sub(1) - head;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{start}~{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_json() {
        let json = Json::Object(vec![
            ("a", Json::List(vec![Json::Null, Json::Bool(true), Json::Number(u64::MAX)])),
            ("b", Json::text("\"\\\n\t\u{1}é")),
            ("c", Json::Map(vec![("x y".into(), Json::texts(&["1"]))])),
        ]);
        let report = Report { text: "x".into(), json };
        let expected = r#"{"a":[null,true,18446744073709551615],"b":"\"\\\n\t\u0001é","c":{"x y":["1"]}}"#;
        assert_eq!(report.form(true), format!("{expected}\n"));
        assert_eq!(report.form(false), "x\n");
        assert_eq!((Report::silent().form(true), Report::silent().form(false)), Default::default());
    }

    #[test]
    fn sizes_times_and_names_are_short() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (u64::MAX, "16383.9 PiB")]
        {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(90_000), "1 d 1 h");
        assert_eq!(shorten("iqn.2026-01.org.example:disk", 10), "iqn~e:disk");
        assert_eq!(shorten("short", 10), "short");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".into(), "b".into()], vec!["long".into(), "c".into()]];
        assert_eq!(table(&rows), "a     b\nlong  c\n");
    }
}
