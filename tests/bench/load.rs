//! A load on one unit of a target: its options, its sessions, its result.

use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scstu::sys::socket::Wake;

use crate::histogram::Histogram;
use crate::process::{self, Usage};
use crate::session::{Place, Session, bad};
use crate::worker::{Outcome, Worker};

/// What to do.
#[derive(Clone, Debug)]
pub struct Load {
    pub sessions: usize,
    /// Commands that each session keeps out.
    pub depth: usize,
    /// Bytes of a command.
    pub size: usize,
    pub is_random: bool,
    pub read_percent: u32,
    pub batch: bool,
    pub warm_up: Duration,
    pub time: Duration,
    /// Commands of each session, instead of a time.
    pub commands: Option<u64>,
    /// Commands a second that each session begins, at most.
    pub rate: Option<u32>,
    pub verify: bool,
    /// Where on the unit they begin that are used.
    pub offset: u64,
    /// Bytes of the unit that are used.
    pub region: u64,
    pub seed: u64,
    /// Units that the commands of each session are spread over, from the LUN of its place on.
    pub luns: u16,
    /// Session K goes to the target whose name ends in K modulo this number.
    pub targets: Option<usize>,
    /// Bytes a second that a session takes from its socket, at most.
    pub drain: Option<u64>,
    /// Process whose CPU time is told.
    pub pid: Option<u32>,
}

/// What the sessions share.
pub struct Shared {
    pub measuring: AtomicBool,
    pub stop: AtomicBool,
    /// Commands that came back, by session.
    pub done: Vec<AtomicU64>,
    /// Wake the sessions that sleep until a command is due.
    pub wakes: Vec<Wake>,
}

impl Shared {
    fn counts(&self) -> Vec<u64> {
        self.done.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wakes.iter().for_each(Wake::signal);
    }
}

/// How things stood when measuring began.
struct Before {
    counts: Vec<u64>,
    used: Option<Usage>,
    start: Instant,
}

/// What came of it.
pub struct Report {
    /// Commands a second that were asked of each session.
    pub rate: Option<u32>,
    pub seconds: f64,
    /// Commands that came back while it was measured, by session.
    pub by_session: Vec<u64>,
    pub latency: Histogram,
    pub refused: u64,
    pub failed: u64,
    pub wrong: u64,
    /// Nanoseconds of CPU that the sessions used here, in all.
    pub client_cpu: u64,
    /// Commands that came back in all, those of the warm-up too.
    pub all_commands: u64,
    pub target: Option<Usage>,
}

impl Report {
    pub fn commands(&self) -> u64 {
        self.by_session.iter().sum()
    }

    pub fn iops(&self) -> f64 {
        self.commands() as f64 / self.seconds
    }

    /// Microseconds of the target's CPU for each command.
    pub fn cpu_per_command(&self) -> Option<f64> {
        self.target.map(|usage| usage.cpu as f64 / 1000.0 / self.commands().max(1) as f64)
    }

    /// Context switches of the target for each command.
    pub fn switches_per_command(&self) -> Option<f64> {
        Some(self.target?.switches? as f64 / self.commands().max(1) as f64)
    }

    /// Least share that a session had, of the mean.
    pub fn fairness(&self) -> f64 {
        let least = self.by_session.iter().min().copied().unwrap_or(0) as f64;
        let mean = self.commands() as f64 / self.by_session.len().max(1) as f64;
        if mean > 0.0 { least / mean } else { 0.0 }
    }
}

/// `iscsi://HOST[:PORT]/TARGET/LUN`.
pub fn place(url: &str) -> io::Result<Place> {
    let wrong = || bad(format!("\"{url}\" is not iscsi://HOST[:PORT]/TARGET/LUN"));
    let rest = url.strip_prefix("iscsi://").ok_or_else(wrong)?;
    let mut parts = rest.split('/');
    let (host, target, lun) = (parts.next(), parts.next(), parts.next());
    let (Some(host), Some(target), Some(lun)) = (host, target, lun) else { return Err(wrong()) };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let host = if has_port { host.to_owned() } else { format!("{host}:3260") };
    let address = host.to_socket_addrs()?.next().ok_or_else(wrong)?;
    let lun = lun.parse().map_err(|_| wrong())?;
    Ok(Place { address, target: target.to_owned(), lun, header_digest: false, data_digest: false })
}

impl Load {
    /// What is measured unless something else is asked for.
    pub fn new() -> Self {
        Load {
            sessions: 1,
            depth: 32,
            size: 4096,
            is_random: true,
            read_percent: 100,
            batch: true,
            warm_up: Duration::from_millis(300),
            time: Duration::from_secs(2),
            commands: None,
            rate: None,
            verify: false,
            offset: 0,
            region: 1 << 30,
            seed: 1,
            luns: 1,
            targets: None,
            drain: None,
            pid: None,
        }
    }

    /// Puts the load on a unit, and takes it off again.
    pub fn run(&self, on: &Place) -> io::Result<Report> {
        let mut sessions = Vec::new();
        for number in 0..self.sessions {
            let mut place = on.clone();
            if let Some(targets) = self.targets {
                place.target += &(number % targets).to_string();
            }
            let mut session = Session::open(&place, number)?;
            // Those behind the first only have to become ready; they are taken to be alike.
            for at in (1..self.luns).rev() {
                session.turn_to(place.lun.saturating_add(at));
                session.await_ready()?;
            }
            session.turn_to(place.lun);
            let unit = session.unit()?;
            sessions.push((session, unit));
        }
        let shared = Arc::new(Shared {
            measuring: AtomicBool::new(self.commands.is_some()),
            stop: AtomicBool::new(false),
            done: (0..self.sessions).map(|_| AtomicU64::new(0)).collect(),
            wakes: (0..self.sessions).map(|_| Wake::new()).collect::<io::Result<_>>()?,
        });
        // Of a number of commands every one is measured, of a time what is behind the warm-up.
        let before = self.commands.map(|_| self.before(&shared)).transpose()?;
        thread::scope(|scope| {
            let mut workers = Vec::new();
            for (number, (session, unit)) in sessions.into_iter().enumerate() {
                let worker =
                    Worker::new(session, unit, self, &shared, number).inspect_err(|_| shared.end())?;
                let builder = thread::Builder::new().stack_size(256 << 10);
                let shared = &shared;
                let work = move || {
                    let outcome = worker.run();
                    // A session that has failed ends the others.
                    if outcome.is_err() {
                        shared.end();
                    }
                    outcome
                };
                workers.push(builder.spawn_scoped(scope, work).inspect_err(|_| shared.end())?);
            }
            let measured = self.measure(&shared, before);
            shared.end();
            let mut report = measured?;
            for worker in workers {
                let outcome = worker.join().map_err(|_| bad("a session has panicked"))?;
                report.add(outcome?);
            }
            report.all_commands = shared.counts().iter().sum();
            Ok(report)
        })
    }

    fn usage(&self) -> io::Result<Option<Usage>> {
        self.pid.map(process::usage).transpose()
    }

    /// Lets the load run for its time, or until its commands have come back.
    fn let_run(&self, shared: &Shared) {
        let Some(commands) = self.commands else { return thread::sleep(self.time) };
        let is_done = |session: &AtomicU64| session.load(Ordering::Relaxed) >= commands;
        while !shared.stop.load(Ordering::Relaxed) && !shared.done.iter().all(is_done) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn before(&self, shared: &Shared) -> io::Result<Before> {
        Ok(Before { counts: shared.counts(), used: self.usage()?, start: Instant::now() })
    }

    fn measure(&self, shared: &Shared, before: Option<Before>) -> io::Result<Report> {
        let Before { counts, used, start } = match before {
            Some(before) => before,
            None => {
                thread::sleep(self.warm_up);
                self.before(shared)?
            }
        };
        shared.measuring.store(true, Ordering::Relaxed);
        self.let_run(shared);
        let seconds = start.elapsed().as_secs_f64();
        let (after, now) = (shared.counts(), self.usage()?);
        shared.measuring.store(false, Ordering::Relaxed);
        Ok(Report {
            rate: self.rate,
            seconds,
            by_session: counts.iter().zip(&after).map(|(before, after)| after - before).collect(),
            latency: Histogram::default(),
            refused: 0,
            failed: 0,
            wrong: 0,
            client_cpu: 0,
            all_commands: 0,
            target: now.zip(used).map(|(now, before)| now.since(&before)),
        })
    }
}

impl Report {
    fn add(&mut self, outcome: Outcome) {
        self.latency.merge(&outcome.latency);
        self.refused += outcome.refused;
        self.failed += outcome.failed;
        self.wrong += outcome.wrong;
        self.client_cpu += outcome.cpu;
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        let p = |share| self.latency.percentile(share);
        let number = |value: Option<f64>| value.map_or("null".to_owned(), |value| format!("{value:.3}"));
        let target = self.target.unwrap_or_default();
        format!(
            "{{\"seconds\":{:.3},\"commands\":{},\"iops\":{:.0},\"mean_us\":{:.1},\"p50_us\":{:.1},\
             \"p95_us\":{:.1},\"p99_us\":{:.1},\"p999_us\":{:.1},\"max_us\":{:.1},\"refused\":{},\
             \"failed\":{},\"wrong\":{},\"fairness\":{:.3},\"target_cpu_us\":{},\"target_switches\":{},\
             \"target_user_ticks\":{},\"target_system_ticks\":{},\"target_rss_kib\":{},\"target_threads\":{},\
             \"client_cpu_us\":{:.3},\"rate\":{}}}",
            self.seconds,
            self.commands(),
            self.iops(),
            self.latency.mean(),
            p(0.5),
            p(0.95),
            p(0.99),
            p(0.999),
            self.latency.max(),
            self.refused,
            self.failed,
            self.wrong,
            self.fairness(),
            number(self.cpu_per_command()),
            number(self.switches_per_command()),
            target.user,
            target.system,
            target.resident,
            target.threads,
            self.client_cpu as f64 / 1000.0 / self.all_commands.max(1) as f64,
            self.rate.map_or("null".to_owned(), |rate| rate.to_string()),
        )
    }

    /// For people.
    pub fn text(&self) -> String {
        let p = |share| self.latency.percentile(share);
        let mut text = format!(
            "{:.0} IOPS; latency us: mean {:.0}, p50 {:.0}, p95 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0}\n\
             {} commands in {:.2} s; refused {}, failed {}, wrong data {}",
            self.iops(),
            self.latency.mean(),
            p(0.5),
            p(0.95),
            p(0.99),
            p(0.999),
            self.latency.max(),
            self.commands(),
            self.seconds,
            self.refused,
            self.failed,
            self.wrong
        );
        if let Some(rate) = self.rate {
            text += &format!(
                "\nat most {rate} commands a second of each session; latency from when each was due"
            );
        }
        if self.by_session.len() > 1 {
            text += &format!("\nleast session: {:.2} of the mean", self.fairness());
        }
        if let Some(cpu) = self.cpu_per_command() {
            text += &format!("\ntarget: {cpu:.2} us of CPU for a command");
        }
        if let Some(switches) = self.switches_per_command() {
            text += &format!(", and {switches:.2} context switches");
        }
        text
    }
}
