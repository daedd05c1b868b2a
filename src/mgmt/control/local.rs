//! What the daemon serves on its socket: its tree, its scst.conf, and what is going on in it.
//!
//! What `do` offers:
//!
//! ```text
//! do status          a line of NAME VALUE for each: version, seconds, connections, workers, idle, stuck,
//!                    waiting, buffer, budget
//! do sessions        a line `session` for each: id, target, initiator, address, portal, seconds, ISID,
//!                    milliseconds since its oldest unfinished command came (nothing without one);
//!                    behind it a line `lun` for each of its LUNs: number, device, commands in flight,
//!                    commands without data, reads, writes, bytes read, bytes written, and three histograms
//!                    (counts by powers of two of a microsecond): waiting, running, both together
//! do kick ID         ends a session
//! do measure SECONDS has the times of commands measured for so long; who looks at them asks again in time
//! do log [LEVEL]     sets the level of the log, and answers it
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::mgmt::conf::{self, Mode, Plan, save};
use crate::mgmt::control::deadline::{Bounded, DEADLINE, Desk, LAST_RESULT, goes_on};
use crate::mgmt::control::{Files, Lines, Service};
use crate::mgmt::tree::{Description, Kind, Tree};
use crate::model::{Error, Model};
use crate::scsi::counters::{Figures, Times};
use crate::server::Server;
use crate::server::sessions::{CloseReason, Session};

/// How long `plan` and `apply` may take before the client is told that they go on.
const APPLY_DEADLINE: Duration = Duration::from_secs(60);

/// Longest time in seconds for which times are measured without being asked for again.
const MEASURING_LIMIT: u64 = 86_400;

/// The daemon itself.
pub struct Local {
    tree: Arc<Tree>,
    files: Bounded<Tree>,
    model: Arc<Model>,
    server: Arc<Server>,
    desk: Desk,
    applying: Arc<Mutex<()>>,
    started: Instant,
}

impl Local {
    /// The daemon with this tree, its model and this server.
    pub fn new(tree: Tree, server: Arc<Server>) -> Self {
        Local::with_patience(tree, server, APPLY_DEADLINE)
    }

    /// The same, with another time that clients wait for `plan` and `apply`.
    pub fn with_patience(tree: Tree, server: Arc<Server>, patience: Duration) -> Self {
        let (tree, model) = (Arc::new(tree.clone()), Arc::clone(tree.model()));
        Local {
            files: Bounded::new(Arc::clone(&tree), Desk::new(DEADLINE)),
            tree,
            model,
            server,
            desk: Desk::new(patience),
            applying: Arc::default(),
            started: Instant::now(),
        }
    }

    fn status(&self) -> Lines {
        let pool = self.server.pool().state();
        let line = |name: &str, value: String| vec![name.to_owned(), value];
        vec![
            line("version", env!("CARGO_PKG_VERSION").to_owned()),
            line("seconds", self.started.elapsed().as_secs().to_string()),
            line("connections", self.server.connections().to_string()),
            line("workers", pool.workers.to_string()),
            line("idle", pool.idle.to_string()),
            line("stuck", pool.stuck.to_string()),
            line("waiting", pool.queued.to_string()),
            line("buffer", self.server.buffers().in_use().to_string()),
            line("budget", self.server.buffers().budget().to_string()),
        ]
    }

    fn kick(&self, id: &str) -> Result<Lines, Error> {
        let sessions = self.server.sessions();
        let session = sessions.iter().find(|session| session.id.to_string() == id);
        session
            .ok_or_else(|| Error::new(libc::ENOENT, format!("there is no session {id}")))?
            .close(CloseReason::Kicked);
        Ok(Lines::new())
    }

    /// Runs what reads or changes the whole configuration, one at a time.
    fn whole(
        &self,
        work: impl FnOnce(&Model) -> Result<Lines, Error> + Send + 'static,
        late: impl FnOnce(Result<(), Error>) + Send + 'static,
    ) -> Result<Lines, Error> {
        let (model, applying) = (Arc::clone(&self.model), Arc::clone(&self.applying));
        let one = move || {
            let _one = applying.lock().unwrap_or_else(PoisonError::into_inner);
            work(&model)
        };
        self.desk.run_then(one, late)
    }

    /// How a file ended that was applied when nobody waited any more: the log says it, and the file that
    /// scstadmin reads after EAGAIN (SCST 1.0.4).
    fn applied_late(&self) -> impl FnOnce(Result<(), Error>) + Send + 'static {
        let model = Arc::clone(&self.model);
        move |end| {
            match &end {
                Ok(()) => log::info!("the file that took long to apply is applied"),
                Err(error) => log::error!("the file that took long to apply is not applied: {error}"),
            }
            model.set_last_result(end.err().map_or(0, |error| error.errno));
        }
    }
}

/// name, mode, values, default, value, key and other marks, help, then each verb with what follows it and
/// what it does.
fn description(file: &Description) -> Vec<String> {
    let marks = [
        (file.is_key, "saved"),
        (file.is_creation_only, "given when made"),
        (file.is_dynamic, "one of several"),
        (file.compatibility.is_some(), "accepted, without effect"),
    ];
    let marks: Vec<&str> = marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect();
    let mut fields = vec![
        file.name.clone(),
        format!("{:04o}", file.mode),
        file.values.clone(),
        file.default.clone(),
        // Files of mode 0600 are accounts: a description is for everybody's eyes.
        file.value.clone().filter(|_| file.mode & 0o044 != 0).unwrap_or_default(),
        marks.join(", "),
        file.help.clone(),
    ];
    for verb in &file.verbs {
        fields.extend([verb.name, verb.syntax, verb.help].map(str::to_owned));
    }
    fields
}

/// What becomes of what a file does not mention.
fn mode_of(word: &str) -> Result<Mode, Error> {
    match word {
        "keep" => Ok(Mode::Merge),
        "remove" => Ok(Mode::Exact),
        _ => Err(Error::new(libc::EINVAL, format!("\"{word}\" is neither keep nor remove"))),
    }
}

/// A line for each change: the change, then the sessions that notice it.
fn changes(plan: Plan) -> Lines {
    let notes = plan.notes.into_iter().map(|note| vec![format!("# {note}")]);
    let steps = plan.steps.into_iter().map(|step| [vec![step.text], step.sessions].concat());
    notes.chain(steps).collect()
}

/// An error in a file, with its place.
fn placed(error: conf::Error) -> Error {
    Error::new(error.errno, error.to_string())
}

fn measuring_time(seconds: &str) -> Result<Duration, Error> {
    let known = seconds.parse().ok().filter(|seconds| (1..=MEASURING_LIMIT).contains(seconds));
    known.map(Duration::from_secs).ok_or_else(|| {
        Error::invalid(format!("\"{seconds}\" is not a number of seconds from 1 to {MEASURING_LIMIT}"))
    })
}

fn log_level(level: &str) -> Result<Lines, Error> {
    let text = "the level of the log is off, error, warn, info, debug or trace";
    log::set_max_level(level.parse().map_err(|_| Error::new(libc::EINVAL, text))?);
    Ok(Lines::new())
}

fn session_lines(session: &Session, lines: &mut Lines) {
    let isid: String = session.isid.iter().map(|byte| format!("{byte:02x}")).collect();
    let oldest = session.oldest().map(|(_, since)| since.elapsed().as_millis().to_string());
    lines.push(vec![
        "session".to_owned(),
        session.id.to_string(),
        session.target.clone(),
        session.initiator.clone(),
        session.peer.to_string(),
        session.portal.to_string(),
        session.opened.elapsed().as_secs().to_string(),
        isid,
        oldest.unwrap_or_default(),
    ]);
    let mut itls = session.nexus.as_ref().map(|nexus| nexus.itls()).unwrap_or_default();
    itls.sort_by_key(|itl| itl.lun);
    for itl in itls {
        let mut line = vec!["lun".to_owned(), itl.lun.to_string(), itl.device.name().to_owned()];
        line.extend(figures(&itl.figures()));
        lines.push(line);
    }
}

fn figures(figures: &Figures) -> Vec<String> {
    let mut fields = vec![figures.in_flight.to_string()];
    fields.extend(figures.commands.iter().chain(&figures.bytes).map(u64::to_string));
    fields.extend([&figures.queue_time, &figures.backend_time, &figures.response_time].map(histogram));
    fields
}

fn histogram(times: &Times) -> String {
    let counts: Vec<String> = times.counts.iter().map(u64::to_string).collect();
    counts.join(",")
}

impl Files for Local {
    fn kind(&self, path: &str) -> Result<Kind, Error> {
        self.files.kind(path)
    }

    fn look(&self, path: &str) -> Result<(Kind, u64), Error> {
        self.files.look(path)
    }

    fn list(&self, path: &str) -> Result<Vec<(String, Kind)>, Error> {
        self.files.list(path)
    }

    fn read(&self, path: &str) -> Result<String, Error> {
        if path == LAST_RESULT && self.desk.is_behind() {
            return Err(goes_on());
        }
        self.files.read(path)
    }

    fn write(&self, path: &str, text: &str) -> Result<(), Error> {
        self.files.write(path, text)
    }
}

impl Service for Local {
    fn describe(&self, path: &str) -> Result<Lines, Error> {
        if self.kind(path)? != Kind::Directory {
            return self.tree.describe(path).map(|file| vec![description(&file)]);
        }
        let mut lines = Lines::new();
        for (name, kind) in self.list(path)? {
            let file = if path.is_empty() { name } else { format!("{path}/{name}") };
            match kind {
                // What is gone by now needs no description.
                Kind::File { .. } => lines.extend(self.tree.describe(&file).map(|file| description(&file))),
                Kind::Directory | Kind::Link { .. } => {}
            }
        }
        Ok(lines)
    }

    fn plan(&self, mode: &str, text: &str) -> Result<Lines, Error> {
        let (mode, text) = (mode_of(mode)?, text.to_owned());
        self.whole(move |model| conf::plan_text(model, &text, mode).map(changes).map_err(placed), |_| {})
    }

    fn apply(&self, mode: &str, text: &str) -> Result<Lines, Error> {
        let (mode, text) = (mode_of(mode)?, text.to_owned());
        let apply = move |model: &Model| conf::apply_text(model, &text, mode).map(changes).map_err(placed);
        self.whole(apply, self.applied_late())
    }

    fn save(&self) -> Result<String, Error> {
        Ok(save::save(&self.model.configuration()))
    }

    fn perform(&self, name: &str, arguments: &[&str]) -> Result<Lines, Error> {
        match (name, arguments) {
            ("status", []) => Ok(self.status()),
            ("sessions", []) => {
                let mut lines = Lines::new();
                self.server.sessions().iter().for_each(|session| session_lines(session, &mut lines));
                Ok(lines)
            }
            ("kick", [id]) => self.kick(id),
            ("measure", [seconds]) => {
                self.server.totals().measure_for(measuring_time(seconds)?);
                Ok(Lines::new())
            }
            ("log", []) => Ok(vec![vec![log::max_level().to_string().to_ascii_lowercase()]]),
            ("log", [level]) => log_level(level),
            _ => {
                let text = format!("\"{name}\" with {} arguments is nothing to do here", arguments.len());
                Err(Error::new(libc::EINVAL, text))
            }
        }
    }
}
