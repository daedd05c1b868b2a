//! The rows of the keys as a table for people. It holds no fact of its own.

use crate::iscsi::key::{KEYS, Key, Kind, Sender, Use};

/// Every key, in Markdown.
pub fn markdown() -> String {
    let head = "| Key | Defined in | Sent | By | Values | Result | Default | Ours | Attribute | Meaning |\n\
                |---|---|---|---|---|---|---|---|---|---|\n";
    KEYS.iter().fold(String::from(head), |table, key| table + &line(key))
}

fn line(key: &Key) -> String {
    let (values, result) = values_and_result(key);
    let has_values = !matches!(key.kind, Kind::DeclareText | Kind::Obsolete | Kind::Procedure);
    let value = |value| if has_values { key.format(value) } else { String::new() };
    let is_section = key.section.starts_with(|c: char| c.is_ascii_digit());
    format!(
        "| `{}` | {}{} | {} | {} | {values} | {result} | {} | {} | {} | {} |\n",
        key.name,
        if is_section { "RFC 7143 " } else { "" },
        key.section,
        used(key.used),
        sender(key),
        value(key.rfc_default),
        value(key.offer),
        if key.is_attribute { "yes" } else { "" },
        key.help
    )
}

fn used(used: Use) -> &'static str {
    match used {
        Use::InitializeOnly => "login of any connection",
        Use::LeadingOnly => "leading login",
        Use::All => "always",
        Use::FullFeatureOnly => "full feature phase",
        Use::Security => "security stage",
        Use::Local => "never",
    }
}

fn sender(key: &Key) -> &'static str {
    match (key.used, key.sender) {
        (Use::Local, _) => "",
        (_, Sender::Initiator) => "initiator",
        (_, Sender::Target) => "target",
        (_, Sender::Both) => "both",
    }
}

fn values_and_result(key: &Key) -> (String, &'static str) {
    let numbers = || format!("{} to {}", key.range.0, key.range.1);
    match key.kind {
        Kind::And => ("Yes, No".to_owned(), "AND"),
        Kind::Or => ("Yes, No".to_owned(), "OR"),
        Kind::Min => (numbers(), "minimum"),
        Kind::Max => (numbers(), "maximum"),
        Kind::Choice(words) => (words.join(", "), "first common"),
        Kind::DeclareNumber => (numbers(), "declared"),
        Kind::DeclareText => ("text".to_owned(), "declared"),
        Kind::Obsolete => (String::new(), "Reject"),
        Kind::Procedure => ("text".to_owned(), "a procedure"),
        Kind::LocalNumber => (numbers(), ""),
        Kind::LocalNumberOr(word) => (format!("{}, {word}", numbers()), ""),
        Kind::LocalWord(words) => (words.join(", "), ""),
    }
}
