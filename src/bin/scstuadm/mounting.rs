//! The tree as a file system, served by this process: `mount`, `unmount`.
//!
//! For a daemon that may not mount by itself: a service without new privileges cannot run fusermount3.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use scstu::mgmt::control::Files;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::context::{Answer, Arguments, Command, Context, FAILED, failure};
use crate::fuse::{Mounted, mountpoint};
use crate::output::{Json, Report};

/// Their commands.
pub const COMMANDS: &[Command] = &[
    Command {
        words: &["mount"],
        usage: "DIRECTORY [--lifeline]",
        help: "show the tree as files there, until it is unmounted or this process ends; with \
               --lifeline also until its standard input ends",
        run: mount,
    },
    Command {
        words: &["unmount"],
        usage: "DIRECTORY",
        help: "take a tree away, also one that a killed process left",
        run: unmount,
    },
];

fn mount(context: &Context, arguments: &Arguments) -> Answer {
    let [directory] = arguments.exactly(&["lifeline"])?;
    let client = context.connect()?;
    let mut signals =
        Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|error| failure(FAILED, error.to_string()))?;
    let files: Arc<dyn Files> = Arc::new(client);
    let mounted = Mounted::new(files, Path::new(directory)).map_err(|text| failure(FAILED, text))?;
    let place = mounted.directory().display().to_string();
    let said = Report {
        text: format!("mounted on {place}"),
        json: Json::Object(vec![("mounted", Json::text(place))]),
    };
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(said.form(context.json).as_bytes()).and_then(|()| out.flush());
    drop(out);
    if arguments.has("lifeline") {
        let directory = mounted.directory().to_owned();
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            end(&directory);
        });
    }
    let directory = mounted.directory().to_owned();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            end(&directory);
        }
    });
    mounted.wait();
    Ok(Report::silent())
}

/// Takes the mount away, which ends [`Mounted::wait`].
fn end(directory: &Path) {
    if !mountpoint::unmount(directory) {
        mountpoint::detach(directory);
        // Whoever is inside would keep this process.
        std::process::exit(0);
    }
}

fn unmount(_context: &Context, arguments: &Arguments) -> Answer {
    let [directory] = arguments.exactly(&[])?;
    let path = mountpoint::place(Path::new(directory)).map_err(|text| failure(FAILED, text))?;
    if mountpoint::state(&path) == mountpoint::State::Free {
        return Err(failure(FAILED, format!("{directory}: no tree is mounted there")));
    }
    if mountpoint::unmount(&path) || mountpoint::detach(&path) {
        return Ok(Report::done());
    }
    Err(failure(FAILED, format!("{directory}: the tree there was mounted by somebody else")))
}
