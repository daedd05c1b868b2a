//! What to do about a refusal: which part of a path is not there, what is there instead, and where names are
//! listed.

use scstu::mgmt::control::Service;
use scstu::mgmt::tree::Kind;
use scstu::model::Error;

use crate::context::Failure;

/// Most names that a hint lists.
const NAMES: usize = 8;

/// What an error's text begins with, and the command that lists what there is.
const LISTS: [(&str, &str); 6] = [
    ("there is no device group", "scstuadm list device_groups"),
    ("there is no device", "scstuadm device list"),
    ("there is no target", "scstuadm target list"),
    ("there is no group", "scstuadm group list"),
    ("there is no session", "scstuadm session list"),
    ("there is no LUN", "scstuadm lun list"),
];

/// The daemon's refusal of what was asked of `path`, with a hint.
pub fn refusal(daemon: &dyn Service, path: &str, error: Error) -> Failure {
    let hint = if error.errno == libc::ENOENT { missing(daemon, path) } else { None };
    let hint = hint.or_else(|| {
        let (_, command) = LISTS.iter().find(|(begin, _)| error.text.starts_with(begin))?;
        Some(format!("`{command}` tells which there are"))
    });
    let failure = Failure::from(error);
    match hint {
        Some(hint) if failure.hint.is_none() => failure.hint(hint),
        _ => failure,
    }
}

/// Which part of a path is the first that is not there, and what is there in its place.
fn missing(daemon: &dyn Service, path: &str) -> Option<String> {
    let mut above = String::new();
    for part in path.split('/') {
        let below = if above.is_empty() { part.to_owned() } else { format!("{above}/{part}") };
        match daemon.kind(&below) {
            Ok(_) => above = below,
            Err(error) if error.errno == libc::ENOENT => {
                let (kind, names) = siblings(daemon, &above, path)?;
                return Some(format!("/{above} has no {part}; {}", offer(kind, part, &names)));
            }
            Err(_) => return None,
        }
    }
    None
}

/// The names in a directory that could have been meant: its directories, or its files where the path ends.
fn siblings(daemon: &dyn Service, above: &str, path: &str) -> Option<(&'static str, Vec<String>)> {
    let entries = daemon.list(above).ok()?;
    let is_file = !path.get(above.len()..).is_some_and(|rest| rest.trim_matches('/').contains('/'));
    let fits =
        |kind: &Kind| matches!(kind, Kind::Directory) || (is_file && matches!(kind, Kind::File { .. }));
    let names = entries.into_iter().filter(|(name, kind)| name != "mgmt" && fits(kind));
    Some(("it has", names.map(|(name, _)| name).collect()))
}

fn offer(verb: &str, wanted: &str, names: &[String]) -> String {
    let best = names.iter().map(|name| (distance(wanted, name), name)).min();
    if let Some((_, name)) = best.filter(|(distance, name)| *distance <= name.chars().count() / 3) {
        return format!("did you mean {name}?");
    }
    match names {
        [] => format!("{verb} nothing yet"),
        names if names.len() <= NAMES => format!("{verb} {}", names.join(", ")),
        names => format!("{verb} {}, and {} more", names[..NAMES].join(", "), names.len() - NAMES),
    }
}

/// Letters to change, add or leave out to make one name of the other, whatever their case.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_nearly_the_same_are_offered() {
        for (a, b, changes) in
            [("", "", 0), ("a", "", 1), ("vdisk_fielio", "vdisk_fileio", 2), ("ab", "AC", 1)]
        {
            assert_eq!(distance(a, b), changes, "{a} {b}");
            assert_eq!(distance(b, a), changes);
        }
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(offer("it has", "dev1", &names(&["dev2", "zebra"])), "did you mean dev2?");
        assert_eq!(offer("it has", "x", &names(&["dev2", "zebra"])), "it has dev2, zebra");
        assert_eq!(offer("it has", "x", &[]), "it has nothing yet");
        let many: Vec<String> = (10..30).map(|number| format!("device{number}")).collect();
        assert!(offer("it has", "x", &many).ends_with(", device17, and 12 more"));
    }
}
