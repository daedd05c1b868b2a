//! What may be called from within which callback: the library does what the table in the header says, for
//! every function and every callback.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod c_programs;
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use c_programs::{LIMIT, compile, has_compiler, installed, tree};
use common::{Folder, run};

/// What `tests/c/callbacks.c` calls the rows of the table.
const KINDS: [(&str, &str); 5] = [
    ("call", "functions passed to a call, as to scstu_list()"),
    ("event", "scstu_options.event"),
    ("ops", "those of a backstore and its attributes"),
    ("log", "scstu_options.log"),
    ("release", "scstu_free_fn"),
];

/// The rows of the table: who, and what it may call.
fn table(header: &str) -> BTreeMap<String, String> {
    let (_, rest) = header.split_once("\n * Callbacks. ").unwrap();
    let rows = rest.lines().skip_while(|line| *line != " *").skip(1).take_while(|line| *line != " *");
    let cut = |row: &str| {
        let (who, what) = row.strip_prefix(" *   ").unwrap().split_once("  ").unwrap();
        (who.to_owned(), what.trim().to_owned())
    };
    rows.map(cut).collect()
}

fn may(what: &str, function: &str, whose: &str) -> bool {
    let names = |text: &str| text.split(", ").any(|name| name == format!("{function}()"));
    match what.strip_prefix("all, except ") {
        Some(but) => match but.strip_suffix(" with the handle of that call") {
            Some(but) => !(names(but) && whose == "own"),
            None => !names(but),
        },
        None => what != "nothing" && names(what),
    }
}

/// The functions that answer an errno.
fn functions(header: &str) -> BTreeSet<&str> {
    let answers = header.lines().filter_map(|line| line.strip_prefix("int "));
    answers.filter_map(|rest| rest.split('(').next()).collect()
}

/// The functions in struct scstu_backstore_ops and struct scstu_attribute.
fn members(header: &str) -> BTreeSet<String> {
    let body = |name: &str| {
        let (_, rest) = header.split_once(&format!("\nstruct {name} {{")).unwrap();
        rest.split_once("\n};").unwrap().0
    };
    let body = body("scstu_backstore_ops").to_owned() + body("scstu_attribute");
    let name = |line: &str| Some(line.split_once("(*")?.1.split_once(')')?.0.to_owned());
    body.lines().filter_map(name).collect()
}

#[test]
fn callbacks_may_call_what_the_table_says() {
    if !has_compiler("calls from callbacks") {
        return;
    }
    let folder = Folder::new("callbacks");
    let program = compile(&installed(&folder), "tests/c/callbacks.c", &["-Wno-unused-function"]);
    let outcome = run(&mut Command::new(program), LIMIT);
    assert!(outcome.is_good(), "{:?}\n{}", outcome.status, outcome.text);
    let header = fs::read_to_string(tree().join("include/scstu.h")).unwrap();
    let (table, functions) = (table(&header), functions(&header));
    assert_eq!(table.len(), KINDS.len(), "{table:?}");
    let mut wrong = Vec::new();
    let mut done: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for line in outcome.text.lines() {
        let [kind, member, function, whose, answer] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let row = KINDS.iter().find(|(name, _)| *name == kind).unwrap().1;
        let wanted = if may(&table[row], function, whose) { "taken" } else { "refused" };
        if answer != wanted {
            wrong.push(format!("{line}; the header says {wanted}"));
        }
        done.entry(kind).or_default().entry(member).or_default().insert(function);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert_eq!(done.len(), KINDS.len());
    for (member, tried) in done.values().flatten() {
        assert_eq!(tried, &functions, "{member}");
    }
    let names = |kind: &str| done[kind].keys().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(names("ops"), members(&header));
    let lists =
        ["scstu_describe", "scstu_list", "scstu_plan", "scstu_portals", "scstu_save", "scstu_sessions"];
    assert_eq!(names("call"), lists.map(str::to_owned).into());
    assert_eq!(names("release"), ["event_free", "free_context", "log_free"].map(str::to_owned).into());
}

#[test]
fn the_table_is_read_as_it_is_meant() {
    assert!(may("all, except scstu_free() with the handle of that call", "scstu_free", "other"));
    assert!(!may("all, except scstu_free() with the handle of that call", "scstu_free", "own"));
    assert!(!may("all, except scstu_stop(), scstu_free()", "scstu_stop", "other"));
    assert!(may("all, except scstu_stop(), scstu_free()", "scstu_new", "own"));
    assert!(may("scstu_complete()", "scstu_complete", "own") && !may("scstu_complete()", "scstu_new", "own"));
    assert!(!may("nothing", "scstu_complete", "own"));
}
