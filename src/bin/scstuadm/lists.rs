//! What is in targets: `group list`, `lun list`, `user list`. Each for one target, or for all.

use scstu::mgmt::control::Service;
use scstu::mgmt::tree::Kind;

use crate::context::{Answer, Arguments, Command, Context, Failure};
use crate::hints::refusal;
use crate::objects::{TARGETS, attribute, directories};
use crate::output::{Json, Report, table};

/// Their commands.
pub const COMMANDS: &[Command] = &[
    Command {
        words: &["group", "list"],
        usage: "[TARGET]",
        help: "groups, and which initiators are in them",
        run: groups,
    },
    Command { words: &["lun", "list"], usage: "[TARGET]", help: "who is shown which device", run: luns },
    Command {
        words: &["user", "list"],
        usage: "[TARGET]",
        help: "CHAP accounts, without their secrets",
        run: users,
    },
];

/// What they are called in JSON, and their rows.
struct List {
    heads: &'static [(&'static str, &'static str)],
    rows: Vec<Vec<Json>>,
}

impl List {
    fn report(self) -> Report {
        let mut rows = vec![self.heads.iter().map(|(head, _)| (*head).to_owned()).collect::<Vec<_>>()];
        rows.extend(self.rows.iter().map(|row| row.iter().map(cell).collect()));
        let object = |row: Vec<Json>| Json::Object(self.heads.iter().map(|head| head.1).zip(row).collect());
        Report { text: table(&rows), json: Json::List(self.rows.into_iter().map(object).collect()) }
    }
}

fn cell(value: &Json) -> String {
    match value {
        Json::Text(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        Json::Bool(is) => if *is { "yes" } else { "no" }.to_owned(),
        Json::List(all) if all.is_empty() => "-".to_owned(),
        Json::List(all) => all.iter().map(cell).collect::<Vec<_>>().join(", "),
        _ => "-".to_owned(),
    }
}

/// The target that was named, or all.
fn targets(daemon: &dyn Service, arguments: &Arguments) -> Result<Vec<String>, Failure> {
    let Some(target) = arguments.optional(&[])? else { return directories(daemon, TARGETS) };
    let path = format!("{TARGETS}/{target}");
    match daemon.kind(&path) {
        Ok(_) => Ok(vec![target.to_owned()]),
        Err(error) => Err(refusal(daemon, &path, error)),
    }
}

/// The files in a directory, but for its commands.
fn files(daemon: &dyn Service, path: &str) -> Result<Vec<String>, Failure> {
    let entries = daemon.list(path)?.into_iter();
    let files = entries.filter(|(name, kind)| matches!(kind, Kind::File { .. }) && name != "mgmt");
    Ok(files.map(|(name, _)| name).collect())
}

fn groups(context: &Context, arguments: &Arguments) -> Answer {
    let daemon = context.daemon()?;
    let mut rows = Vec::new();
    for target in targets(daemon, arguments)? {
        let path = format!("{TARGETS}/{target}/ini_groups");
        for group in directories(daemon, &path)? {
            let initiators = files(daemon, &format!("{path}/{group}/initiators"))?;
            let luns = directories(daemon, &format!("{path}/{group}/luns"))?.len();
            rows.push(vec![
                Json::text(&target),
                Json::text(group),
                Json::Number(u64::try_from(luns).unwrap_or(u64::MAX)),
                Json::texts(&initiators),
            ]);
        }
    }
    let heads = &[("TARGET", "target"), ("GROUP", "group"), ("LUNS", "luns"), ("INITIATORS", "initiators")];
    Ok(List { heads, rows }.report())
}

fn luns(context: &Context, arguments: &Arguments) -> Answer {
    let daemon = context.daemon()?;
    let mut rows = Vec::new();
    for target in targets(daemon, arguments)? {
        let path = format!("{TARGETS}/{target}");
        let mut maps = vec![(Json::Null, format!("{path}/luns"))];
        for group in directories(daemon, &format!("{path}/ini_groups"))? {
            let luns = format!("{path}/ini_groups/{group}/luns");
            maps.push((Json::text(group), luns));
        }
        for (group, luns) in maps {
            let mut numbers: Vec<u64> =
                directories(daemon, &luns)?.iter().filter_map(|lun| lun.parse().ok()).collect();
            numbers.sort_unstable();
            for lun in numbers {
                let device = match daemon.kind(&format!("{luns}/{lun}/device")) {
                    Ok(Kind::Link { target }) => target.rsplit('/').next().unwrap_or_default().to_owned(),
                    _ => continue,
                };
                let is_read_only = attribute(daemon, &format!("{luns}/{lun}/read_only")) == "1";
                rows.push(vec![
                    Json::text(&target),
                    group.clone(),
                    Json::Number(lun),
                    Json::text(device),
                    Json::Bool(is_read_only),
                ]);
            }
        }
    }
    let heads = &[
        ("TARGET", "target"),
        ("GROUP", "group"),
        ("LUN", "lun"),
        ("DEVICE", "device"),
        ("READ ONLY", "read_only"),
    ];
    Ok(List { heads, rows }.report())
}

fn users(context: &Context, arguments: &Arguments) -> Answer {
    let daemon = context.daemon()?;
    let is_one = arguments.optional(&[])?.is_some();
    let mut places = if is_one { Vec::new() } else { vec![(Json::Null, TARGETS.to_owned())] };
    for target in targets(daemon, arguments)? {
        let path = format!("{TARGETS}/{target}");
        places.push((Json::text(target), path));
    }
    let mut rows = Vec::new();
    for (target, path) in places {
        for file in files(daemon, &path)? {
            let direction = match file.trim_end_matches(|c: char| c.is_ascii_digit()) {
                "IncomingUser" => "incoming",
                "OutgoingUser" => "outgoing",
                _ => continue,
            };
            let account = attribute(daemon, &format!("{path}/{file}"));
            let name = account.split_whitespace().next().unwrap_or_default();
            rows.push(vec![target.clone(), Json::text(name), Json::text(direction)]);
        }
    }
    // Without a target it is an account of discovery sessions.
    let heads = &[("TARGET", "target"), ("USER", "user"), ("DIRECTION", "direction")];
    Ok(List { heads, rows }.report())
}
