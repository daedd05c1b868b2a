//! `src/tables.md`, the second half of the map, is what the source says. With `SCSTU_BLESS=1` it is written
//! anew.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod source;

use std::fmt::Write;
use std::path::Path;

use scstu::attr::Access;
use scstu::backstore::registry::{HANDLERS, OF_TCMU_RUNNER};
use scstu::iscsi;
use scstu::model::catalogue;
use scstu::scsi;

fn access(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => "read",
        Access::CreateOnly => "given when made",
        Access::ReadWrite => "read and write",
        Access::Secret => "read and write, by the owner",
        Access::WriteOnly => "write",
    }
}

fn attributes() -> String {
    let mut text = String::new();
    let rows = catalogue::rows();
    for (class, what) in catalogue::CLASSES {
        writeln!(text, "## Attributes: {class}\n\nOf {what}.\n").unwrap();
        text.push_str("| Attribute | Values | Default | Access | Meaning |\n|---|---|---|---|---|\n");
        for row in rows.iter().filter(|row| row.class == *class) {
            // A bracket would begin a link.
            let kind = row.kind.to_string().replace('[', "\\[");
            let (name, access) = (row.name, access(row.access));
            writeln!(text, "| `{name}` | {kind} | {} | {access} | {} |", row.default, row.help).unwrap();
        }
        text.push('\n');
    }
    text.push_str("## Accepted for compatibility only\n\nThese are kept and shown, and change nothing.\n\n");
    text.push_str("| Object | Attribute | Why |\n|---|---|---|\n");
    for row in rows {
        if let Some(why) = row.compatibility {
            writeln!(text, "| {} | `{}` | {why} |", row.class, row.name).unwrap();
        }
    }
    text
}

fn verbs() -> String {
    let mut table = String::from("| Directory | Command | What it does |\n|---|---|---|\n");
    for (path, verb) in catalogue::verbs() {
        writeln!(table, "| `{path}` | `{} {}` | {} |", verb.name, verb.syntax, verb.help).unwrap();
    }
    table
}

fn handlers() -> String {
    let mut table = String::from("| Handler | What it is | Parameters of a new device |\n|---|---|---|\n");
    for row in HANDLERS.iter().chain([&OF_TCMU_RUNNER]) {
        writeln!(table, "| `{}` | {} | {} |", row.name, row.help, row.parameters.join(", ")).unwrap();
    }
    table
}

/// The first sentence of a file's own description.
fn summary(file: &source::File) -> String {
    let lines = file.lines.iter().map_while(|line| line.strip_prefix("//!"));
    let paragraph: Vec<&str> = lines.map(str::trim).take_while(|line| !line.is_empty()).collect();
    let text = paragraph.join(" ");
    let end = text.find(". ").map_or(text.len(), |at| at + 1);
    text[..end].replace('|', "\\|")
}

fn modules() -> String {
    let mut table = String::from("| File | What it is |\n|---|---|\n");
    for file in source::files(&["src"]) {
        if file.tests_from > 0 && file.path != "src/lib.rs" {
            let path = file.path.trim_start_matches("src/");
            writeln!(table, "| `{path}` | {} |", summary(&file)).unwrap();
        }
    }
    table
}

fn document() -> String {
    format!(
        "# What is where\n\n\
         Made from the source: run `SCSTU_BLESS=1 cargo test --test tables` after changing it.\n\n\
         ## Files\n\n{}\n\
         ## Commands\n\n\
         Order is the place among the other commands of a unit. The last column names what would refuse\n\
         another command, and does not refuse this one.\n\n{}\n\
         ## Keys\n\n\
         Keys of RFC 7143, and settings of a target that are no keys (sent never). Those marked as\n\
         attributes can be set for each target.\n\n{}\n\
         ## Handlers\n\n{}\n\
         ## Commands of the tree\n\n{}\n\
         {}",
        modules(),
        scsi::catalogue::markdown(),
        iscsi::catalogue::markdown(),
        handlers(),
        verbs(),
        attributes(),
    )
}

#[test]
fn the_tables_are_what_the_source_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tables.md");
    let wanted = document();
    if std::env::var_os("SCSTU_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    let different = wanted.lines().zip(found.lines()).find(|(wanted, found)| wanted != found);
    assert!(
        wanted == found,
        "src/tables.md is not what the source says; SCSTU_BLESS=1 writes it anew. It differs at {different:?}"
    );
}
