//! A load generator for iSCSI targets, and what it takes to compare them.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use echo::Echo;
use load::Load;
use session::Place;

mod calls;
mod cells;
mod compare;
mod digests;
mod echo;
mod embed;
mod histogram;
mod load;
mod pace;
mod paper;
mod pdu;
mod peers;
mod place;
mod plan;
mod plot;
mod process;
mod session;
mod spdk;
mod worker;

const HELP: &str = "\
Usage: scstu-bench URL [OPTION]...        put a load on iscsi://HOST[:PORT]/TARGET/LUN
       scstu-bench echo [OPTION]...       be the ceiling: a server that does no SCSI
       scstu-bench compare [OPTION]...    targets side by side, in alternating rounds
       scstu-bench embed [OPTION]...      a backstore in C beside vdisk_ram, in alternating rounds
       scstu-bench digests [OPTION]...    what header and data digests cost, beside CRC32C by itself
       scstu-bench paper [OPTION]...      a 1 Gb/s link, the settings of nagle side by side, and a model
Measures an iSCSI target. Writing destroys what is on the unit.

A load:
      --depth N          commands that each session keeps out (default 32)
      --size BYTES       bytes of a command; 4k and 1M are understood (default 4k)
      --rw WHAT          read, write, or the percentage of reads (default read; 50 with --verify)
      --sequential       one command behind the other, not at random
      --sessions N       sessions, each with a thread of its own (default 1)
      --luns N           commands go at random to N units, from LUN on (default 1)
      --targets N        session K goes to the target whose name is TARGET with K modulo N behind it
      --drain BYTES      take no more than so much a second from the socket
      --time SECONDS     how long to measure (default 2), after --warm-up SECONDS (0.3)
      --commands N       so many commands of each session, instead of a time
      --rate N           commands a second that each session begins at most, evenly, with up to DEPTH out
                         (1 to 1000000); latencies count from when a command was due
      --region BYTES     use this much of the unit (default 1G), from --offset BYTES on (0)
      --no-batch         every command in a send call of its own, as most initiators do it
      --digests WHAT     header, data or both
      --verify           write what can be told apart, and compare what is read, at the end all of it
      --pid PID          tell what the target's process used
      --seed N           other random places
      --json             the result as one JSON object

The ceiling:
      --listen ADDRESS   default 127.0.0.1:0; the port taken is printed
      --file FILE        serve this file; from memory without
      --sendfile         large reads of the file without a copy through the process
      --bytes BYTES      size without a file (default 1G)

Comparisons:
      --peers LIST       of echo, echo-sendfile, scstu, scstu+ATTRIBUTE=VALUE+..., tgt, istgt, spdk, and
                         NAME=URL@PID for a target that runs already; ratios are to the first; attributes
                         of the target, o_direct and its like of the device, and workers of the daemon
                         (default echo,scstu,tgt,istgt; what is missing is installed where that is allowed)
      --only LIST        loads of these names, or with these words in their names; of paper: these sizes of
                         commands besides 512; all without
      --sums BYTES       of digests: nothing but the time of CRC32C for such a command, on this processor
      --rounds N         rounds (default 5), each load for --time SECONDS (0.5) at a time
      --quiet SECONDS    each sample waits so long at most until the machine does nothing else
      --cpus T,L         processors of the targets and of the load
      --file-folder DIR  where the file that is read and written goes
      --spdk FILE        SPDK's iscsi_tgt, where it is not on the path
      --program FILE     of embed: the example ram_backstore
      --at-least PART    of embed: exit status 1 if the backstore in C that never blocks has less than this
                         part (such as 0.9) of vdisk_ram's median rate in one of the loads
      --netns            in a network namespace of its own, with TCP reno (as root)
      --out DIR          table, raw results and charts go there

  -h, --help             this text
  -V, --version          the version
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scstu-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage(error: lexopt::Error) -> io::Error {
    session::bad(format!("{error}; --help tells the options"))
}

/// A number of bytes with an optional K, M or G.
pub fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        (at, 'g' | 'G') => (&text[..at], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << unit)
}

fn help() -> io::Result<ExitCode> {
    io::stdout().write_all(HELP.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn run() -> io::Result<ExitCode> {
    let mut parser = lexopt::Parser::from_env();
    let first = parser.next().map_err(usage)?;
    use lexopt::prelude::*;
    match first {
        Some(Value(word)) if word == "echo" => echo_command(parser),
        Some(Value(word)) if word == "embed" => embed_command(parser),
        Some(Value(word)) if word == "compare" => side_by_side(Side::Compare, parser),
        Some(Value(word)) if word == "digests" => side_by_side(Side::Digests, parser),
        Some(Value(word)) if word == "paper" => side_by_side(Side::Paper, parser),
        Some(Value(url)) => load_command(&url.to_string_lossy(), parser),
        Some(Short('h') | Long("help")) => help(),
        Some(Short('V') | Long("version")) => {
            println!("scstu-bench {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => Err(usage(other.unexpected())),
        None => Err(session::bad("what to measure is missing; --help tells the options")),
    }
}

fn value(parser: &mut lexopt::Parser) -> io::Result<String> {
    Ok(parser.value().map_err(usage)?.to_string_lossy().into_owned())
}

fn number<T: std::str::FromStr>(parser: &mut lexopt::Parser) -> io::Result<T> {
    let text = value(parser)?;
    text.parse().map_err(|_| session::bad(format!("\"{text}\" is not what this option wants")))
}

fn size(parser: &mut lexopt::Parser) -> io::Result<u64> {
    let text = value(parser)?;
    bytes(&text).ok_or_else(|| session::bad(format!("\"{text}\" is not a number of bytes")))
}

fn seconds(parser: &mut lexopt::Parser) -> io::Result<Duration> {
    let seconds = number::<f64>(parser)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| session::bad(format!("{seconds} is not a time")))
}

fn load_command(url: &str, mut parser: lexopt::Parser) -> io::Result<ExitCode> {
    use lexopt::prelude::*;
    let mut load = Load::new();
    let (mut as_json, mut percent, mut digests) = (false, None, None);
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Long("depth") => load.depth = number(&mut parser)?,
            Long("size") => load.size = usize::try_from(size(&mut parser)?).unwrap_or(0),
            Long("sessions") => load.sessions = number(&mut parser)?,
            Long("time") => load.time = seconds(&mut parser)?,
            Long("commands") => load.commands = Some(number(&mut parser)?),
            Long("rate") => load.rate = Some(rate(&value(&mut parser)?)?),
            Long("warm-up") => load.warm_up = seconds(&mut parser)?,
            Long("region") => load.region = size(&mut parser)?,
            Long("offset") => load.offset = size(&mut parser)?,
            Long("seed") => load.seed = number(&mut parser)?,
            Long("pid") => load.pid = Some(number(&mut parser)?),
            Long("sequential") => load.is_random = false,
            Long("luns") => load.luns = number(&mut parser)?,
            Long("targets") => load.targets = Some(number(&mut parser)?),
            Long("drain") => load.drain = Some(size(&mut parser)?),
            Long("no-batch") => load.batch = false,
            Long("verify") => load.verify = true,
            Long("json") => as_json = true,
            Long("rw") => percent = Some(reads(&value(&mut parser)?)?),
            Long("digests") => digests = Some(value(&mut parser)?),
            Short('h') | Long("help") => return help(),
            other => return Err(usage(other.unexpected())),
        }
    }
    if load.depth == 0 || load.sessions == 0 || load.size == 0 || load.size > 16 << 20 {
        return Err(session::bad("--depth and --sessions are at least 1, --size is at most 16M"));
    }
    if load.luns == 0 || load.targets == Some(0) || load.drain == Some(0) {
        return Err(session::bad("--luns, --targets and --drain are at least 1"));
    }
    // What is compared must have been written.
    load.read_percent = percent.unwrap_or(if load.verify { 50 } else { 100 });
    if load.verify && load.read_percent == 100 {
        return Err(session::bad("--verify compares what it has written: --rw wants write or less than 100"));
    }
    if load.luns > 1 && load.verify {
        return Err(session::bad("--verify goes with one unit only"));
    }
    let (header_digest, data_digest) = match digests.as_deref() {
        None => (false, false),
        Some("header") => (true, false),
        Some("data") => (false, true),
        Some("both") => (true, true),
        Some(_) => return Err(session::bad("--digests wants header, data or both")),
    };
    let report = load.run(&Place { header_digest, data_digest, ..load::place(url)? })?;
    println!("{}", if as_json { report.json() } else { report.text() });
    Ok(if report.wrong + report.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn rate(text: &str) -> io::Result<u32> {
    text.parse().ok().filter(|rate| pace::RATES.contains(rate)).ok_or_else(|| {
        let (least, most) = (pace::RATES.start(), pace::RATES.end());
        session::bad(format!("--rate wants commands a second from {least} to {most}, not \"{text}\""))
    })
}

fn reads(text: &str) -> io::Result<u32> {
    match (text, text.parse::<u32>()) {
        ("read", _) => Ok(100),
        ("write", _) => Ok(0),
        (_, Ok(percent)) if percent <= 100 => Ok(percent),
        _ => Err(session::bad("--rw wants read, write, or a percentage of reads")),
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// What is measured in alternating rounds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Compare,
    Digests,
    Paper,
}

fn side_by_side(side: Side, mut parser: lexopt::Parser) -> io::Result<ExitCode> {
    use lexopt::prelude::*;
    let is_paper = side == Side::Paper;
    let mut options = compare::Options {
        peers: list("echo,scstu,tgt,istgt"),
        only: Vec::new(),
        rounds: 5,
        time: "0.5".to_owned(),
        processors: None,
        file_folder: None,
        out: None,
        spdk: None,
        quiet: Duration::ZERO,
    };
    let mut in_namespace = false;
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Long("sums") if side == Side::Digests => {
                let bytes =
                    usize::try_from(size(&mut parser)?).ok().filter(|bytes| (1..=16 << 20).contains(bytes));
                let bytes = bytes.ok_or_else(|| session::bad("--sums wants 1 to 16M"))?;
                println!("{}", digests::sums(bytes)?);
                return Ok(ExitCode::SUCCESS);
            }
            Long("peers") if side == Side::Compare => options.peers = list(&value(&mut parser)?),
            Long("only") => options.only = list(&value(&mut parser)?),
            Long("file-folder") if !is_paper => {
                options.file_folder = Some(parser.value().map_err(usage)?.into());
            }
            Long("spdk") if side == Side::Compare => {
                options.spdk = Some(parser.value().map_err(usage)?.into())
            }
            Long("quiet") => options.quiet = seconds(&mut parser)?,
            Long("netns") if !is_paper => in_namespace = true,
            Long("rounds") => options.rounds = number(&mut parser)?,
            Long("time") => options.time = number::<f64>(&mut parser)?.to_string(),
            Long("out") => options.out = Some(parser.value().map_err(usage)?.into()),
            Long("cpus") => options.processors = pair(&mut parser)?,
            Short('h') | Long("help") => return help(),
            other => return Err(usage(other.unexpected())),
        }
    }
    if options.rounds == 0 {
        return Err(session::bad("--rounds is at least 1"));
    }
    place::end_in_order()?;
    if in_namespace {
        if side == Side::Compare {
            peers::prepare(&options.peers);
        }
        return place::again_in_namespace();
    }
    match side {
        Side::Compare => compare::compare(&options)?,
        Side::Digests => digests::digests(&options)?,
        Side::Paper => paper::paper(&options)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn pair(parser: &mut lexopt::Parser) -> io::Result<Option<(String, String)>> {
    let text = value(parser)?;
    let pair = text.split_once(',').ok_or_else(|| session::bad("--cpus wants TARGET,LOAD"))?;
    Ok(Some((pair.0.to_owned(), pair.1.to_owned())))
}

fn embed_command(mut parser: lexopt::Parser) -> io::Result<ExitCode> {
    use lexopt::prelude::*;
    let mut options =
        embed::Options { program: None, rounds: 5, time: "0.5".to_owned(), processors: None, at_least: None };
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Long("program") => options.program = Some(parser.value().map_err(usage)?.into()),
            Long("rounds") => options.rounds = number(&mut parser)?,
            Long("time") => options.time = number::<f64>(&mut parser)?.to_string(),
            Long("cpus") => options.processors = pair(&mut parser)?,
            Long("at-least") => {
                let part: f64 = number(&mut parser)?;
                if !part.is_finite() || part <= 0.0 {
                    return Err(session::bad(format!("--at-least {part} is no positive number")));
                }
                options.at_least = Some(part);
            }
            Short('h') | Long("help") => return help(),
            other => return Err(usage(other.unexpected())),
        }
    }
    if options.rounds == 0 {
        return Err(session::bad("--rounds is at least 1"));
    }
    place::end_in_order()?;
    Ok(if embed::embed(&options)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn echo_command(mut parser: lexopt::Parser) -> io::Result<ExitCode> {
    use lexopt::prelude::*;
    let mut listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut echo = Echo { file: None, sendfile: false, bytes: 1 << 30 };
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Long("listen") => listen = number(&mut parser)?,
            Long("file") => echo.file = Some(parser.value().map_err(usage)?.into()),
            Long("sendfile") => echo.sendfile = true,
            Long("bytes") => echo.bytes = size(&mut parser)?,
            Short('h') | Long("help") => return help(),
            other => return Err(usage(other.unexpected())),
        }
    }
    if let Some(file) = &echo.file {
        echo.bytes = std::fs::metadata(file)?.len();
    }
    let listener = TcpListener::bind(listen)?;
    println!("listening on {}", listener.local_addr()?);
    echo::serve(listener, echo)?;
    Ok(ExitCode::SUCCESS)
}
