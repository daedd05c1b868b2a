//! What packaging/install.sh installs: the packages name all of it, each file once, and what is installed
//! works and knows its own places.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod c_programs;
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use c_programs::{LIMIT, has_compiler, library, tree};
use common::{Folder, is_installed, run, skip};
use scstu::server::LOGIN_LIMIT;
use scstu::server::sessions::SESSION_LIMIT;

const LIBDIR: &str = "usr/lib/any-gnu";
const UNITDIR: &str = "lib/systemd/system";

/// Installs the programs under test below a folder, as packages do.
fn install(folder: &Folder) -> PathBuf {
    install_to(
        folder,
        &[("PREFIX", "/usr"), ("LIBDIR", &format!("/{LIBDIR}")), ("UNITDIR", &format!("/{UNITDIR}"))],
    )
}

/// The same elsewhere; what is not said is as install.sh has it.
fn install_to(folder: &Folder, places: &[(&str, &str)]) -> PathBuf {
    let (build, to) = (folder.file("build"), folder.file("installed"));
    fs::create_dir(&build).unwrap();
    for program in
        [env!("CARGO_BIN_EXE_scstud"), env!("CARGO_BIN_EXE_scstuadm"), env!("CARGO_BIN_EXE_scstu-bench")]
    {
        symlink(program, build.join(Path::new(program).file_name().unwrap())).unwrap();
    }
    symlink(library().with_file_name("libscstu.a"), build.join("libscstu.a")).unwrap();
    let mut install = Command::new("sh");
    install.arg(tree().join("packaging/install.sh")).env("DESTDIR", &to).env("BUILD", &build);
    install.envs(places.iter().copied());
    let outcome = run(&mut install, LIMIT);
    assert!(outcome.is_good(), "{}", outcome.text);
    to
}

/// Files and links below a folder, by their paths without a slash before them.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// Whether a name is as a pattern has it, where each `*` stands for any characters.
fn is_like(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((before, rest)) => name.strip_prefix(before).is_some_and(|name| {
            name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| is_like(&name[at..], rest))
        }),
    }
}

/// Whether a line of a package means a path, or a folder above it.
fn means(line: &str, path: &str) -> bool {
    let (names, patterns): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), line.split('/').collect());
    let is_alike = |(pattern, name): (&&str, &&str)| is_like(name, pattern);
    patterns.len() <= names.len() && patterns.iter().zip(&names).all(is_alike)
}

/// Each file is in one package, and each line of a package means a file.
fn compare(files: &BTreeSet<String>, lines: &BTreeMap<String, Vec<String>>) {
    for file in files {
        let hits: Vec<_> = lines
            .iter()
            .flat_map(|(package, lines)| lines.iter().map(move |line| (package, line)))
            .filter(|(_, line)| means(line, file))
            .collect();
        assert_eq!(hits.len(), 1, "/{file} is in {hits:?}");
    }
    for (package, lines) in lines {
        for line in lines {
            assert!(files.iter().any(|file| means(line, file)), "{package}: nothing is {line}");
        }
    }
}

/// What debian/rules and the helpers of debhelper give to packages, beside the lists.
fn of_debian() -> BTreeMap<String, Vec<String>> {
    let mut packages = BTreeMap::new();
    let folder = tree().join("packaging/debian");
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "install") {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            packages.insert(name, text.lines().map(str::to_owned).collect());
        }
    }
    let rules = fs::read_to_string(folder.join("rules")).unwrap();
    let moved = rules.lines().filter_map(|line| line.trim().strip_prefix("mv debian/tmp/"));
    let moved = moved.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    packages.insert("moved by debian/rules".to_owned(), moved);
    packages
}

fn of_rpm() -> BTreeMap<String, Vec<String>> {
    let spec = fs::read_to_string(tree().join("packaging/rpm/scstu.spec")).unwrap();
    let places = [
        ("%{_sbindir}", "usr/sbin"),
        ("%{_mandir}", "usr/share/man"),
        ("%{_datadir}", "usr/share"),
        ("%{_unitdir}", UNITDIR),
        ("%{_prefix}", "usr"),
        ("%{_sysconfdir}", "etc"),
        ("%{_libdir}", LIBDIR),
        ("%{_includedir}", "usr/include"),
    ];
    let mut packages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut package = None;
    for line in spec.lines() {
        if let Some(name) = line.strip_prefix("%files") {
            package = Some(name.trim().to_owned());
        }
        let line = line.trim_start_matches("%config(noreplace) ");
        let is_path = places.iter().any(|(macro_, _)| line.starts_with(macro_));
        if let (Some(package), true) = (&package, is_path) {
            let expanded = places.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to));
            packages.entry(package.clone()).or_default().push(expanded);
        }
    }
    packages
}

#[test]
fn every_installed_file_is_in_one_package_and_works() {
    if !has_compiler("packages") {
        return;
    }
    let folder = Folder::new("packages");
    let to = install(&folder);
    let files = files(&to);
    assert!(files.len() > 15, "{files:?}");
    compare(&files, &of_debian());
    compare(&files, &of_rpm());

    let version = env!("CARGO_PKG_VERSION");
    for program in files.iter().filter(|file| file.starts_with("usr/sbin/")) {
        let name = program.trim_start_matches("usr/sbin/");
        assert_eq!(fs::metadata(to.join(program)).unwrap().permissions().mode() & 0o777, 0o755, "{name}");
        assert!(files.contains(&format!("usr/share/man/man8/{name}.8")), "{name} has no manual page");
        if name != "scstu-scstadmin" {
            let outcome = run(Command::new(to.join(program)).arg("--version"), LIMIT);
            assert!(outcome.is_good() && outcome.text.contains(version), "{name}: {}", outcome.text);
        }
    }
    let conf = to.join("etc/scstu/scst.conf");
    let outcome = run(Command::new(to.join("usr/sbin/scstuadm")).arg("check").arg(conf), LIMIT);
    assert!(outcome.is_good(), "{}", outcome.text);
    let linked = fs::canonicalize(to.join(LIBDIR).join("libscstu.so")).unwrap();
    assert_eq!(linked.file_name().unwrap().to_str().unwrap(), format!("libscstu.so.{version}"));
    for text in [format!("{LIBDIR}/pkgconfig/scstu.pc"), format!("{UNITDIR}/scstud.service")] {
        let text = fs::read_to_string(to.join(text)).unwrap();
        assert!(!text.contains('@') && !text.contains("/usr/local"), "{text}");
    }
}

#[test]
fn the_units_run_what_is_installed_wherever_that_is() {
    if !has_compiler("an installation elsewhere") {
        return;
    }
    let folder = Folder::new("elsewhere");
    let to = install_to(&folder, &[("SYSCONFDIR", "/opt/etc")]);
    for unit in ["scstud.service", "scstu-tree.service"] {
        let text = fs::read_to_string(to.join("usr/local/lib/systemd/system").join(unit)).unwrap();
        for command in text.lines().filter(|line| line.starts_with("Exec")) {
            let (_, command) = command.split_once('=').unwrap();
            for word in command.split(' ').filter(|word| word.starts_with('/') && !word.starts_with("/run/"))
            {
                let is_kept = word.starts_with("/var/lib/");
                assert!(
                    is_kept || to.join(&word[1..]).exists(),
                    "{unit}: {command}: {word} is not installed"
                );
            }
        }
    }
    let modes = fs::read_to_string(to.join("usr/local/lib/tmpfiles.d/scstu.conf")).unwrap();
    assert!(modes.contains("/opt/etc/scstu/scst.conf") && !modes.contains(" /etc"), "{modes}");
}

#[test]
fn a_configuration_that_is_there_stays() {
    if !has_compiler("an installation over another") {
        return;
    }
    let folder = Folder::new("over");
    let conf = folder.file("installed").join("etc/scstu/scst.conf");
    fs::create_dir_all(conf.parent().unwrap()).unwrap();
    fs::write(&conf, "# mine\n").unwrap();
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o640)).unwrap();
    install(&folder);
    assert_eq!(fs::read_to_string(&conf).unwrap(), "# mine\n");
    assert_eq!(fs::metadata(&conf).unwrap().permissions().mode() & 0o777, 0o640);
}

/// debhelper does so by itself.
#[test]
fn rpm_sets_up_and_takes_down_every_unit() {
    let spec = fs::read_to_string(tree().join("packaging/rpm/scstu.spec")).unwrap();
    for step in ["%systemd_post ", "%systemd_preun ", "%systemd_postun_with_restart "] {
        let units = spec.lines().find_map(|line| line.strip_prefix(step)).unwrap();
        for unit in fs::read_dir(tree().join("packaging/systemd")).unwrap() {
            let name = unit.unwrap().file_name().into_string().unwrap();
            assert!(!name.ends_with(".service") || units.split(' ').any(|unit| unit == name), "{step}{name}");
        }
    }
}

/// Seconds that a constant of a source file stands for.
fn seconds(file: &str, constant: &str) -> u64 {
    let text = fs::read_to_string(tree().join("src").join(file)).unwrap();
    let line = format!("const {constant}: Duration = Duration::from_secs(");
    let (_, rest) = text.split_once(&line).unwrap_or_else(|| panic!("{file} has no {constant}"));
    rest.split_once(')').unwrap().0.parse().unwrap()
}

/// Whoever is killed before that leaves data and images of handlers as they are.
#[test]
fn the_unit_gives_the_daemon_as_long_to_stop_as_it_takes_at_most() {
    let daemon = ["DRAIN", "FLUSH", "CLOSE"].map(|constant| seconds("bin/scstud.rs", constant));
    // Twice as long, as `Shell::stop` waits; `Server::stop` gives connections and workers two seconds each.
    let farewell = 2 * seconds("mgmt/isns/shell.rs", "FAREWELL");
    let most = daemon.iter().sum::<u64>() + farewell + 2 * 2 + seconds("instance/mod.rs", "COME_BACK");
    let unit = fs::read_to_string(tree().join("packaging/systemd/scstud.service")).unwrap();
    let given = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    assert!(given.parse::<u64>().unwrap() > most, "{given} s, of {most}");
}

/// A connection is a thread and a descriptor; with too few it is closed without an answer.
#[test]
fn the_unit_lets_the_daemon_have_as_many_sessions_as_it_takes() {
    let unit = fs::read_to_string(tree().join("packaging/systemd/scstud.service")).unwrap();
    let most_workers = 1024;
    let most = SESSION_LIMIT + LOGIN_LIMIT + most_workers;
    for limit in ["TasksMax=", "LimitNOFILE="] {
        let given = unit.lines().find_map(|line| line.strip_prefix(limit));
        assert!(
            given.is_some_and(|given| given.parse::<usize>().unwrap() > most),
            "{limit}{given:?}, of {most}"
        );
    }
}

#[test]
fn the_units_run_programs_that_are_installed_with_options_that_these_have() {
    for unit in ["scstud.service", "scstu-tree.service"] {
        let text = fs::read_to_string(tree().join("packaging/systemd").join(unit)).unwrap();
        let commands: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("Exec"))
            .filter_map(|line| line.split_once('=').map(|(_, command)| command))
            .collect();
        assert!(!commands.is_empty(), "{unit}");
        for command in commands {
            let mut words = command.split(' ');
            let program = match words.next().unwrap() {
                "/usr/sbin/scstud" => env!("CARGO_BIN_EXE_scstud"),
                "/usr/sbin/scstuadm" => env!("CARGO_BIN_EXE_scstuadm"),
                other => panic!("{unit} runs {other}, which is not ours"),
            };
            let help = run(Command::new(program).arg("--help"), LIMIT).text;
            for word in words.filter(|word| word.starts_with('-')) {
                assert!(help.contains(word), "{unit}: {command}: there is no {word}");
            }
        }
    }
    if !is_installed("systemd-analyze") {
        return skip("units", "no systemd-analyze");
    }
    let folder = Folder::new("units");
    for unit in ["scstud.service", "scstu-tree.service"] {
        let text = fs::read_to_string(tree().join("packaging/systemd").join(unit)).unwrap();
        let here = text
            .replace("/usr/sbin/scstud ", &format!("{} ", env!("CARGO_BIN_EXE_scstud")))
            .replace("/usr/sbin/scstuadm ", &format!("{} ", env!("CARGO_BIN_EXE_scstuadm")));
        fs::write(folder.file(unit), here).unwrap();
    }
    let mut verify = Command::new("systemd-analyze");
    verify
        .args(["verify", "--man=no"])
        .args(["scstud.service", "scstu-tree.service"].map(|unit| folder.file(unit)));
    let outcome = run(&mut verify, LIMIT);
    let ours: Vec<&str> = outcome.text.lines().filter(|line| line.contains("scstu")).collect();
    assert!(ours.is_empty(), "{ours:?}");
}
