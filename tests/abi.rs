//! The binary interface: what is exported, how structs lie, and that old and new programs run.
//!
//! `SCSTU_BLESS=1 cargo test --test abi` writes the map and appends to the kept layout; it never changes what
//! was kept before.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod c_programs;
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use c_programs::{LIMIT, compile, has_compiler, installed, library, tree};
use common::{Folder, is_installed, run, skip};

fn header() -> String {
    fs::read_to_string(tree().join("include/scstu.h")).unwrap()
}

/// What leaves the library: what the header declares, and what handlers of tcmu-runner look for.
fn declared() -> BTreeSet<String> {
    let mut all = in_header();
    all.extend(for_handlers());
    all
}

/// The functions for handlers of tcmu-runner, as the source lists them.
fn for_handlers() -> BTreeSet<String> {
    let source = fs::read_to_string(tree().join("src/backstore/tcmu/symbols.rs")).unwrap();
    let rows = source.lines().filter(|line| line.starts_with("    "));
    let names = rows.filter_map(|line| line.split_once("::tcmu"));
    names.map(|(_, rest)| format!("tcmu{rest}")).collect()
}

fn is_ours(symbol: &str) -> bool {
    ["scstu_", "tcmu_", "tcmur_"].iter().any(|prefix| symbol.starts_with(prefix))
}

/// The functions that the header declares.
fn in_header() -> BTreeSet<String> {
    let header = header();
    let start = |line: &&str| !line.starts_with([' ', '/', '*', '#', '}']) && !line.starts_with("typedef");
    let name = |line: &str| {
        let (before, _) = line.split_once('(')?;
        let name = before.rsplit([' ', '*']).next()?;
        name.starts_with("scstu_").then(|| name.to_owned())
    };
    header.lines().filter(start).filter_map(name).collect()
}

/// Dynamic symbols that `file` defines; with their versions where they have one.
fn exported(file: &Path) -> BTreeSet<String> {
    let outcome = run(Command::new("nm").args(["-D", "--defined-only"]).arg(file), LIMIT);
    assert!(outcome.is_good(), "{}", outcome.text);
    let symbols = outcome.text.lines().filter_map(|line| line.split_whitespace().last());
    symbols.map(str::to_owned).collect()
}

fn map_path() -> std::path::PathBuf {
    tree().join("packaging/scstu.map")
}

/// The nodes of the map: version and symbols.
fn map() -> Vec<(String, BTreeSet<String>)> {
    let text = fs::read_to_string(map_path()).unwrap_or_default();
    let mut nodes: Vec<(String, BTreeSet<String>)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_suffix(" {") {
            nodes.push((name.to_owned(), BTreeSet::new()));
        } else if let (Some(symbol), Some(node)) = (line.strip_suffix(';'), nodes.last_mut()) {
            if is_ours(symbol) {
                node.1.insert(symbol.to_owned());
            }
        }
    }
    nodes
}

/// Functions that no node has go into the newest; those of a version that was released stay where they are.
fn bless() {
    let (declared, mut nodes) = (declared(), map());
    if nodes.is_empty() {
        nodes.push(("SCSTU_0.1".to_owned(), BTreeSet::new()));
    }
    let known: BTreeSet<String> = nodes.iter().flat_map(|(_, symbols)| symbols.clone()).collect();
    let last = nodes.len() - 1;
    nodes[last].1.extend(declared.difference(&known).cloned());
    let mut text = String::new();
    for (at, (name, symbols)) in nodes.iter().enumerate() {
        let symbols: Vec<String> = symbols.iter().map(|symbol| format!("        {symbol};")).collect();
        let local = if at == 0 { "    local:\n        *;\n" } else { "" };
        let before = if at == 0 { String::new() } else { format!(" {}", nodes[at - 1].0) };
        text += &format!("{name} {{\n    global:\n{}\n{local}}}{before};\n", symbols.join("\n"));
    }
    fs::write(map_path(), text).unwrap();
}

/// What Debian's four handlers of tcmu-runner 1.5.4 look for (`nm -D --undefined-only`).
const OF_DEBIAN: &str = include_str!("golden/tcmu-symbols.txt");

#[test]
fn debians_handlers_find_what_they_look_for() {
    let ours = for_handlers();
    let missing: Vec<&str> = OF_DEBIAN.lines().filter(|name| !ours.contains(*name)).collect();
    assert_eq!((OF_DEBIAN.lines().count(), missing), (43, Vec::new()));
    if !is_installed("nm") {
        return skip("symbols of the daemon", "no nm");
    }
    let daemon = exported(Path::new(env!("CARGO_BIN_EXE_scstud")));
    let (handlers, others): (BTreeSet<_>, BTreeSet<_>) = daemon.into_iter().partition(|name| is_ours(name));
    assert_eq!(handlers, ours, "the daemon and src/backstore/tcmu/symbols.rs differ");
    assert!(!others.iter().any(|name| name.contains("scstu")), "{others:?}");
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    if std::env::var_os("SCSTU_BLESS").is_some() {
        bless();
    }
    let declared = declared();
    assert!(declared.len() > 20, "{declared:?}");
    let in_map: BTreeSet<String> = map().into_iter().flat_map(|(_, symbols)| symbols).collect();
    assert_eq!(in_map, declared, "packaging/scstu.map and include/scstu.h differ");
    if !is_installed("nm") {
        return skip("exported symbols", "no nm");
    }
    assert_eq!(exported(&library()), declared, "the library and include/scstu.h differ");
    let outcome = run(Command::new("readelf").arg("-d").arg(library()), LIMIT);
    assert!(outcome.text.contains("soname: [libscstu.so.0]"), "{}", outcome.text);
}

#[test]
fn the_packaged_library_has_versions() {
    if !has_compiler("symbol versions") {
        return;
    }
    let folder = Folder::new("packaged");
    let archive = library().with_file_name("libscstu.a");
    let mut link = Command::new("bash");
    link.arg(tree().join("packaging/link.sh")).arg(archive).arg(&folder.0);
    let outcome = run(&mut link, LIMIT);
    assert!(outcome.is_good(), "{}", outcome.text);
    let mut wanted = BTreeSet::new();
    for (version, symbols) in map() {
        wanted.extend(symbols.iter().map(|symbol| format!("{symbol}@@{version}")));
        wanted.insert(format!("{version}@@{version}"));
    }
    let exported = exported(&folder.file("libscstu.so.0"));
    let plain = |symbols: BTreeSet<String>| -> BTreeSet<String> {
        symbols.into_iter().filter(|symbol| is_ours(symbol)).collect()
    };
    assert_eq!(exported.iter().filter(|s| !is_ours(s) && !s.starts_with("SCSTU_")).count(), 0);
    assert_eq!(plain(exported), plain(wanted));
    let program = compile(&folder.0, "tests/c/abi.c", &["-Wno-unused-function"]);
    let outcome = run(&mut Command::new(program), LIMIT);
    assert!(outcome.is_good(), "{}", outcome.text);
}

/// Structs and their members as the header has them.
fn structs() -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut pending = String::new();
    let mut inside = false;
    let mut is_comment = false;
    for line in header().lines() {
        let text = line.trim();
        is_comment |= text.starts_with("/*");
        if is_comment {
            is_comment = !text.ends_with("*/");
            continue;
        }
        if let Some(name) = line.strip_prefix("struct ").and_then(|rest| rest.strip_suffix(" {")) {
            found.push((name.to_owned(), Vec::new()));
            inside = true;
        } else if line == "};" {
            inside = false;
        } else if inside {
            pending = format!("{pending} {text}");
            if text.ends_with(';') {
                let member = std::mem::take(&mut pending);
                let name = match member.split_once("(*") {
                    Some((_, rest)) => rest.split(')').next().unwrap().to_owned(),
                    None => {
                        let last = member.trim_end_matches(';').rsplit([' ', '*']).next().unwrap();
                        last.split('[').next().unwrap().to_owned()
                    }
                };
                found.last_mut().unwrap().1.push(name);
            }
        }
    }
    found
}

/// Names of the header's numbers.
fn constants() -> Vec<String> {
    let header = header();
    let defined = header.lines().filter_map(|line| line.strip_prefix("#define SCSTU_"));
    defined.filter_map(|rest| rest.split_once(' ').map(|(name, _)| format!("SCSTU_{name}"))).collect()
}

/// As the compiler says it, one a line: `struct.member offset`, `struct size alignment`, `CONSTANT number`.
fn layout(folder: &Folder) -> Vec<String> {
    let mut source =
        String::from("#include <scstu.h>\n#include <stdalign.h>\n#include <stdio.h>\nint main(void)\n{\n");
    for name in constants() {
        source += &format!("    printf(\"{name} %lld\\n\", (long long){name});\n");
    }
    for (name, members) in structs() {
        source +=
            &format!("    printf(\"{name} %zu %zu\\n\", sizeof(struct {name}), alignof(struct {name}));\n");
        for member in members {
            source +=
                &format!("    printf(\"{name}.{member} %zu\\n\", offsetof(struct {name}, {member}));\n");
        }
    }
    source += "    return 0;\n}\n";
    fs::write(folder.file("layout.c"), source).unwrap();
    let mut compiler = Command::new("gcc");
    compiler.arg("-I").arg(tree().join("include")).arg(folder.file("layout.c")).arg("-o");
    let outcome = run(compiler.arg(folder.file("layout")), LIMIT);
    assert!(outcome.is_good(), "{}", outcome.text);
    run(&mut Command::new(folder.file("layout")), LIMIT).text.lines().map(str::to_owned).collect()
}

/// Structs that carry their size may grow; one without is part of others and stays as it is.
fn is_grown(new: &str, old: &str) -> bool {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let ([name, size, alignment], [old_name, old_size, old_alignment]) = (&words(new)[..], &words(old)[..])
    else {
        return false;
    };
    let number = |text: &String| text.parse::<u64>().unwrap();
    name == old_name
        && name != "scstu_traffic"
        && alignment == old_alignment
        && number(size) > number(old_size)
}

#[test]
fn members_may_be_added_and_not_moved() {
    assert!(is_grown("scstu_open 56 8", "scstu_open 48 8"));
    for (new, old) in [
        ("scstu_open 40 8", "scstu_open 48 8"),
        ("scstu_open 56 4", "scstu_open 48 8"),
        ("scstu_disk 56 8", "scstu_open 48 8"),
        ("scstu_traffic 136 8", "scstu_traffic 128 8"),
        ("scstu_open.device 16", "scstu_open.device 8"),
        ("SCSTU_EVENT_SESSION_OPENED 2", "SCSTU_EVENT_SESSION_OPENED 1"),
    ] {
        assert!(!is_grown(new, old), "{new}");
    }
}

#[test]
fn members_stay_where_they_were() {
    if !has_compiler("layout of structs") || cfg!(not(target_pointer_width = "64")) {
        return;
    }
    let folder = Folder::new("layout");
    let now = layout(&folder);
    assert!(now.iter().any(|line| line == "SCSTU_EVENT_BACKSTORE_FAILED 6"), "{now:?}");
    assert!(now.iter().any(|line| line == "scstu_traffic 128 8"), "{now:?}");
    let path = tree().join("tests/golden/abi.txt");
    let kept = fs::read_to_string(&path).unwrap_or_default();
    for line in kept.lines() {
        let is_so = now.iter().any(|new| new == line || is_grown(new, line));
        assert!(is_so, "{line} is not so any more: programs would break");
    }
    if std::env::var_os("SCSTU_BLESS").is_some() {
        fs::write(&path, now.join("\n") + "\n").unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept.lines().count(), now.len(), "new members: SCSTU_BLESS=1 keeps them");
}

/// The header with the last `count` members of a struct left out, or with members of tomorrow added.
fn changed(header: &str, name: &str, leave_out: Option<&str>) -> String {
    let start = header.find(&format!("\nstruct {name} {{")).unwrap();
    let end = start + header[start..].find("\n};").unwrap();
    match leave_out {
        Some(first) => {
            let place = header[start..end].find(first).unwrap_or_else(|| panic!("{name} has no {first}"));
            let comment = header[start..start + place].rfind("/**").unwrap();
            format!("{}{}", &header[..start + comment], &header[end + 1..])
        }
        None => format!("{}\n  uint64_t tomorrow[4];{}", &header[..end], &header[end..]),
    }
}

#[test]
fn programs_of_yesterday_and_tomorrow_run() {
    if !has_compiler("programs of other versions") {
        return;
    }
    let folder = Folder::new("abi");
    let place = installed(&folder);
    let header = header();
    let mut sizes = BTreeSet::new();
    let yesterday = [
        ("scstu_options", "log_level"),
        ("scstu_backstore_ops", "(*write_same)"),
        ("scstu_attribute", "(*set)"),
        ("scstu_statistics", "idle_workers"),
        ("scstu_device_statistics", "operations"),
        // Those that the library fills.
        ("scstu_open", "uint32_t block_size;"),
        ("scstu_disk", "uint32_t unmap_granularity_bytes;"),
        ("scstu_request", "size_t iov_count;"),
        ("scstu_description", "*const *words;"),
        ("scstu_event", "const char *text;"),
        ("scstu_session", "struct scstu_traffic traffic;"),
    ];
    let has_size = structs().into_iter().filter(|(_, members)| members[0] == "size").map(|(name, _)| name);
    let has_size: BTreeSet<String> = has_size.collect();
    let covered: BTreeSet<String> = yesterday.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(has_size, covered, "structs that grow");
    let old = yesterday.iter().fold(header.clone(), |text, (name, first)| changed(&text, name, Some(first)));
    let new = yesterday.iter().fold(header.clone(), |text, (name, _)| changed(&text, name, None));
    for (what, text, flag) in [("old", &old, "-DOLD"), ("now", &header, "-DNOW"), ("new", &new, "-DTOMORROW")]
    {
        let include = folder.file(what);
        fs::create_dir_all(&include).unwrap();
        fs::write(include.join("scstu.h"), text).unwrap();
        let own = format!("-I{}", include.display());
        let program = compile(&place, "tests/c/abi.c", &["-Wno-unused-function", &own, flag]);
        let outcome = run(&mut Command::new(program), LIMIT);
        assert!(outcome.is_good(), "{what}: {:?}\n{}", outcome.status, outcome.text);
        sizes.insert(outcome.text);
    }
    assert_eq!(sizes.len(), 3, "three programs with structs of three lengths: {sizes:?}");
}
