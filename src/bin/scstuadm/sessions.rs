//! Who is connected, and what they do: `status`, `session`, `top`.

use std::collections::HashMap;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use scstu::mgmt::control::{Lines, Service};
use scstu::scsi::counters::{BUCKETS, Times};

use crate::context::{Answer, Arguments, Command, Context, FAILED, Failure, USAGE, failure};
use crate::objects;
use crate::output::{Json, Report, duration, shorten, size, table};

/// Their commands.
pub const COMMANDS: &[Command] = &[
    Command { words: &["status"], usage: "", help: "everything at a glance", run: status },
    Command {
        words: &["top"],
        usage: "[--interval SECONDS] [--count N]",
        help: "what each LUN of each session does, live; Ctrl-C ends it",
        run: top,
    },
    Command { words: &["session", "list"], usage: "", help: "who is logged in", run: session_list },
    Command {
        words: &["session", "kick"],
        usage: "ID",
        help: "end a session; its initiator may log in again",
        run: |context, arguments| {
            let [id] = arguments.exactly(&[])?;
            context.daemon()?.perform("kick", &[id])?;
            Ok(Report::done())
        },
    },
    Command {
        words: &["log", "level"],
        usage: "[LEVEL]",
        help: "how much the daemon logs: off, error, warn, info, debug, trace",
        run: |context, arguments| {
            let level = arguments.optional(&[])?;
            let words: Vec<&str> = level.into_iter().collect();
            let lines = context.daemon()?.perform("log", &words)?;
            match lines.first().and_then(|line| line.first()) {
                Some(level) => Ok(Report { text: level.clone(), json: Json::text(level) }),
                None => Ok(Report::done()),
            }
        },
    },
];

/// How long `status` watches to tell a throughput.
const GLANCE: Duration = Duration::from_millis(250);

/// How long commands are measured after the next look of `top` was due.
const MEASURED_BEYOND: Duration = Duration::from_secs(10);

/// A session as the daemon tells of it.
struct Session {
    id: String,
    target: String,
    initiator: String,
    address: String,
    seconds: u64,
    /// Milliseconds since its oldest unfinished command came.
    oldest: Option<u64>,
    luns: Vec<Lun>,
}

/// A LUN of a session.
#[derive(Clone)]
struct Lun {
    number: String,
    device: String,
    in_flight: u64,
    commands: [u64; 3],
    bytes: [u64; 2],
    /// From its arrival until it is finished, command by command.
    times: Times,
}

/// What was counted between two looks.
struct Rate {
    commands: u64,
    bytes: [u64; 2],
    times: Times,
}

fn number(text: Option<&String>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn histogram(text: Option<&String>) -> Times {
    let mut times = Times { counts: [0; BUCKETS], nanoseconds: 0 };
    for (count, value) in times.counts.iter_mut().zip(text.map_or("", String::as_str).split(',')) {
        *count = value.parse().unwrap_or(0);
    }
    times
}

fn look(daemon: &dyn Service) -> Result<Vec<Session>, Failure> {
    Ok(sessions(&daemon.perform("sessions", &[])?))
}

/// The lines of `do sessions`.
fn sessions(lines: &Lines) -> Vec<Session> {
    let mut sessions: Vec<Session> = Vec::new();
    for line in lines {
        let field = |at: usize| line.get(at).cloned().unwrap_or_default();
        match (line.first().map(String::as_str), sessions.last_mut()) {
            (Some("session"), _) => sessions.push(Session {
                id: field(1),
                target: field(2),
                initiator: field(3),
                address: field(4),
                seconds: number(line.get(6)),
                oldest: line.get(8).and_then(|text| text.parse().ok()),
                luns: Vec::new(),
            }),
            (Some("lun"), Some(session)) => session.luns.push(Lun {
                number: field(1),
                device: field(2),
                in_flight: number(line.get(3)),
                commands: [4, 5, 6].map(|at| number(line.get(at))),
                bytes: [7, 8].map(|at| number(line.get(at))),
                times: histogram(line.get(11)),
            }),
            _ => {}
        }
    }
    sessions
}

impl Session {
    fn in_flight(&self) -> u64 {
        self.luns.iter().map(|lun| lun.in_flight).sum()
    }

    fn target_name(&self) -> &str {
        if self.target.is_empty() { "(discovery)" } else { &self.target }
    }

    /// Bytes in both directions since `before`.
    fn moved(&self, before: &[Session]) -> u64 {
        let old = before.iter().find(|session| session.id == self.id);
        let total =
            |session: &Session| session.luns.iter().map(|lun| lun.bytes[0] + lun.bytes[1]).sum::<u64>();
        total(self).saturating_sub(old.map_or(0, total))
    }
}

impl Lun {
    /// What was counted since `before`; all of it for one that is new.
    fn since(&self, before: Option<&Lun>) -> Rate {
        let total = |lun: &Lun| lun.commands.iter().sum::<u64>();
        Rate {
            commands: total(self).saturating_sub(before.map_or(0, total)),
            bytes: [0, 1].map(|at| self.bytes[at].saturating_sub(before.map_or(0, |lun| lun.bytes[at]))),
            times: before.map_or(self.times, |before| self.times.since(&before.times)),
        }
    }
}

fn per_second(count: u64, time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000_000) / micros
}

fn session_list(context: &Context, arguments: &Arguments) -> Answer {
    let [] = arguments.exactly(&[])?;
    let daemon = context.daemon()?;
    let before = look(daemon)?;
    let since = Instant::now();
    std::thread::sleep(GLANCE);
    let sessions = look(daemon)?;
    let (rows, list) = session_rows(&sessions, &before, since.elapsed());
    Ok(Report { text: table(&rows), json: Json::List(list) })
}

fn session_rows(sessions: &[Session], before: &[Session], time: Duration) -> (Vec<Vec<String>>, Vec<Json>) {
    let heads =
        ["ID", "INITIATOR", "ADDRESS", "TARGET", "LUNS", "IN FLIGHT", "OLDEST", "THROUGHPUT", "SINCE"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let mut list = Vec::new();
    for session in sessions {
        let rate = per_second(session.moved(before), time);
        rows.push(vec![
            session.id.clone(),
            session.initiator.clone(),
            session.address.clone(),
            session.target_name().to_owned(),
            session.luns.len().to_string(),
            session.in_flight().to_string(),
            session.oldest.map_or("-".to_owned(), long_age),
            format!("{}/s", size(rate)),
            duration(session.seconds),
        ]);
        let luns = session.luns.iter().map(|lun| {
            Json::Object(vec![
                ("lun", Json::Number(lun.number.parse().unwrap_or(0))),
                ("device", Json::text(&lun.device)),
                ("in_flight", Json::Number(lun.in_flight)),
                ("reads", Json::Number(lun.commands[1])),
                ("writes", Json::Number(lun.commands[2])),
                ("other_commands", Json::Number(lun.commands[0])),
                ("bytes_read", Json::Number(lun.bytes[0])),
                ("bytes_written", Json::Number(lun.bytes[1])),
            ])
        });
        list.push(Json::Object(vec![
            ("id", Json::Number(session.id.parse().unwrap_or(0))),
            ("initiator", Json::text(&session.initiator)),
            ("address", Json::text(&session.address)),
            ("target", if session.target.is_empty() { Json::Null } else { Json::text(&session.target) }),
            ("seconds", Json::Number(session.seconds)),
            ("in_flight", Json::Number(session.in_flight())),
            ("oldest_command_milliseconds", known(session.oldest)),
            ("bytes_per_second", Json::Number(rate)),
            ("luns", Json::List(luns.collect())),
        ]));
    }
    (rows, list)
}

fn status(context: &Context, arguments: &Arguments) -> Answer {
    let [] = arguments.exactly(&[])?;
    let daemon = context.daemon()?;
    let facts: HashMap<String, String> = daemon
        .perform("status", &[])?
        .into_iter()
        .filter_map(|line| Some((line.first()?.clone(), line.get(1)?.clone())))
        .collect();
    let fact = |name: &str| number(facts.get(name));
    let version = facts.get("version").cloned().unwrap_or_default();
    let mut text = format!(
        "scstud {version}, up {}; {} connections; {} workers, {} idle, {} stuck; {} commands wait for one\n\
         {} of {} memory for data in use\n",
        duration(fact("seconds")),
        fact("connections"),
        fact("workers"),
        fact("idle"),
        fact("stuck"),
        fact("waiting"),
        size(fact("buffer")),
        size(fact("budget")),
    );
    let daemon_json = ["seconds", "connections", "workers", "idle", "stuck", "waiting", "buffer", "budget"]
        .map(|name| (name, Json::Number(fact(name))));
    let mut members = vec![("version", Json::text(version))];
    members.extend(daemon_json);
    let none = Arguments { plain: Vec::new(), options: Vec::new() };
    let mut json = vec![("daemon", Json::Object(members))];
    for (name, run) in [
        ("targets", objects_command(&["target", "list"])),
        ("devices", objects_command(&["device", "list"])),
        ("sessions", session_list),
    ] {
        let report = run(context, &none)?;
        text.push('\n');
        text.push_str(&report.text);
        json.push((name, report.json));
    }
    Ok(Report { text, json: Json::Object(json) })
}

fn objects_command(words: &[&str]) -> fn(&Context, &Arguments) -> Answer {
    objects::COMMANDS.iter().find(|row| row.words == words).map_or(session_list, |row| row.run)
}

fn top(context: &Context, arguments: &Arguments) -> Answer {
    let [] = arguments.exactly(&["interval", "count"])?;
    let seconds = |text: &str| text.parse::<f64>().ok().filter(|s| (0.1..=3600.0).contains(s));
    let interval = arguments.value("interval").map_or(Some(2.0), seconds);
    let interval = interval.ok_or_else(|| failure(USAGE, "--interval is 0.1 to 3600 seconds"))?;
    let count = arguments.value("count").map(str::parse::<u64>).transpose();
    let count = count.map_err(|_| failure(USAGE, "--count is a number"))?.unwrap_or(u64::MAX);
    let daemon = context.daemon()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let _ = signal_hook::flag::register(signal, Arc::clone(&stop));
    }
    watch(daemon, context.json, Duration::from_secs_f64(interval), count, &stop)?;
    Ok(Report::silent())
}

/// The sessions, whose commands are measured until the next look and some time beyond it: when nobody looks
/// any more, however that comes, it ends by itself.
fn look_and_measure(daemon: &dyn Service, interval: Duration) -> Result<Vec<Session>, Failure> {
    let seconds = interval.as_secs() + MEASURED_BEYOND.as_secs();
    daemon.perform("measure", &[&seconds.to_string()])?;
    look(daemon)
}

fn watch(
    daemon: &dyn Service,
    json: bool,
    interval: Duration,
    count: u64,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let mut before = look_and_measure(daemon, interval)?;
    let mut since = Instant::now();
    let clear = std::io::stdout().is_terminal() && !json;
    for _ in 0..count {
        let until = Instant::now() + interval;
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(
                until.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)),
            );
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let sessions = look_and_measure(daemon, interval)?;
        let report = frame(&sessions, &before, since.elapsed());
        let screen = if clear { "\x1b[H\x1b[2J" } else { "" };
        let mut out = std::io::stdout().lock();
        match write!(out, "{screen}{}", report.form(json)).and_then(|()| out.flush()) {
            Ok(()) => {}
            // Whoever read it has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            Err(error) => return Err(failure(FAILED, error.to_string())),
        }
        (before, since) = (sessions, Instant::now());
    }
    Ok(())
}

/// What `top` shows once: busiest LUN first, OLD the age of the session's oldest command, every line at most
/// 80 characters long.
fn frame(sessions: &[Session], before: &[Session], time: Duration) -> Report {
    let old = |session: &Session, lun: &Lun| {
        let session = before.iter().find(|old| old.id == session.id)?;
        session.luns.iter().find(|old| old.number == lun.number && old.device == lun.device).cloned()
    };
    let mut all: Vec<(&Session, &Lun, Rate)> = Vec::new();
    for session in sessions {
        for lun in &session.luns {
            all.push((session, lun, lun.since(old(session, lun).as_ref())));
        }
    }
    all.sort_by_key(|(_, _, rate)| std::cmp::Reverse(rate.commands));
    let mut text = format!(
        "{:>6} {:12} {:>5} {:11} {:>7} {:>6} {:>6} {:>5} {:>5} {:>3} {:>4}\n",
        "ID", "INITIATOR", "LUN", "DEVICE", "IOPS", "RD/s", "WR/s", "p50", "p99", "QUE", "OLD"
    );
    let mut list = Vec::new();
    for (session, lun, rate) in &all {
        let [read, written] = rate.bytes.map(|bytes| per_second(bytes, time));
        let iops = per_second(rate.commands, time);
        let [half, most] = [0.5, 0.99].map(|share| rate.times.quantile(share));
        text.push_str(&format!(
            "{:>6} {:12} {:>5} {:11} {:>7} {:>6} {:>6} {:>5} {:>5} {:>3} {:>4}\n",
            shorten(&session.id, 6),
            shorten(&session.initiator, 12),
            lun.number,
            shorten(&lun.device, 11),
            iops,
            brief(read),
            brief(written),
            micros(half),
            micros(most),
            lun.in_flight,
            age(session.oldest),
        ));
        list.push(Json::Object(vec![
            ("session", Json::Number(session.id.parse().unwrap_or(0))),
            ("initiator", Json::text(&session.initiator)),
            ("target", Json::text(&session.target)),
            ("lun", Json::Number(lun.number.parse().unwrap_or(0))),
            ("device", Json::text(&lun.device)),
            ("commands_per_second", Json::Number(iops)),
            ("read_bytes_per_second", Json::Number(read)),
            ("written_bytes_per_second", Json::Number(written)),
            ("p50_microseconds", known(half)),
            ("p99_microseconds", known(most)),
            ("in_flight", Json::Number(lun.in_flight)),
            ("session_oldest_command_milliseconds", known(session.oldest)),
        ]));
    }
    Report { text, json: Json::List(list) }
}

fn known(value: Option<u64>) -> Json {
    value.map_or(Json::Null, Json::Number)
}

/// An age for a column that may be wide.
fn long_age(milliseconds: u64) -> String {
    match milliseconds {
        0..60_000 => format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000),
        _ => duration(milliseconds / 1000),
    }
}

/// An age in at most four characters, rounded down.
fn age(milliseconds: Option<u64>) -> String {
    match milliseconds {
        None => "-".to_owned(),
        Some(age @ 0..=999) => format!("{age}m"),
        Some(age @ 1000..=999_999) => format!("{}s", age / 1000),
        Some(age @ 1_000_000..=35_999_999) => format!("{}.{}h", age / 3_600_000, age / 360_000 % 10),
        Some(age @ 36_000_000..=359_999_999) => format!("{}h", age / 3_600_000),
        Some(_) => ">99h".to_owned(),
    }
}

/// Bytes in at most six characters.
fn brief(bytes: u64) -> String {
    size(bytes).replace(" B", "").replace("iB", "").replace(' ', "")
}

/// Microseconds in at most five characters: an upper bound, as histograms tell it.
fn micros(time: Option<u64>) -> String {
    match time {
        None => "-".to_owned(),
        Some(time @ 0..=999) => format!("{time}u"),
        Some(time @ 1000..=999_999) => format!("{}m", time.div_ceil(1000)),
        Some(time) => format!("{}s", time.div_ceil(1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: u64, commands: u64) -> Lines {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        let name = "iqn.2026-01.org.example:a-long-name-of-an-initiator";
        vec![
            words(&format!(
                "session 18446744073 iqn.t {name} 10.0.0.1:5000 10.0.0.9:3260 90 400001370000 999999"
            )),
            words(&format!(
                "lun 16383 a-device-with-a-long-name 999 1 {commands} 3 {bytes} 4096 0 0 0,0,0,{commands}"
            )),
            words("session 2  iqn.i 10.0.0.1:5000 10.0.0.9:3260 90 400001370000"),
        ]
    }

    #[test]
    fn top_fits_a_terminal() {
        let before = sessions(&lines(0, 0));
        let after = sessions(&lines(3 << 30, 1_000_000));
        assert_eq!(after.len(), 2);
        assert_eq!(after[1].target_name(), "(discovery)");
        let report = frame(&after, &before, Duration::from_secs(1));
        let line = report.text.lines().nth(1).unwrap();
        assert!(line.contains("1000000") && line.contains("3G") && line.contains(" 8u "), "{line}");
        assert!(line.ends_with(" 999s"), "{line}");
        assert!(report.text.lines().all(|line| line.chars().count() <= 80), "{}", report.text);
        assert!(report.json != Json::List(Vec::new()));
    }

    #[test]
    fn a_session_that_is_new_has_moved_all_it_moved() {
        let after = sessions(&lines(1000, 1));
        assert_eq!(after[0].moved(&[]), 1000 + 4096);
        assert_eq!(after[0].moved(&after), 0);
        let new = after[0].luns[0].since(None);
        assert_eq!((new.commands, new.bytes, new.times.count()), (1 + 1 + 3, [1000, 4096], 1));
        assert_eq!(per_second(10, Duration::from_millis(500)), 20);
        assert_eq!(micros(Some(1500)), "2m");
        let ages = [0, 999, 59_999, 999_999, 1_000_000, 35_999_999, 36_000_000, u64::MAX];
        assert!(ages.iter().all(|ms| age(Some(*ms)).chars().count() <= 4));
        assert_eq!([age(None), age(Some(1_080_000)), age(Some(59_999))], ["-", "0.3h", "59s"]);
        assert_eq!([long_age(1_250), long_age(61_000)], ["1.250 s", "1 min 1 s"]);
    }
}
