//! What header and data digests cost: loads with and without, at once, beside the time that CRC32C takes for
//! their bytes on the same processor: by itself, the same bytes again and again, and where each system call
//! has just brought others.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use scstu::wire::digest;

use crate::cells::{Cell, cells};
use crate::compare::{self, Options};
use crate::peers::{self, Peer, Settings};
use crate::place::{self, Folder, Running, median};
use crate::process;
use crate::session::bad;

/// Names of the cells.
const LOADS: [&str; 4] =
    ["file 4k read qd32", "file 4k write qd32", "file 64k read qd8", "file 64k write qd8"];
/// Bytes of a basic header segment. One each way is counted, which every command has; those of R2T and of
/// further data PDUs are left out.
const HEADER: usize = 48;
/// Name of scstud's threads for connections. Where the file is in memory they do all the work.
const CONNECTION: &str = "scstu-conn";
/// Between two looks at what runs.
const GLANCE: Duration = Duration::from_millis(1);
/// How long each sum is measured.
const SPELL: Duration = Duration::from_millis(40);
/// What is read lies in so many bytes and at most so many buffers, as that of a load does.
const READ_BYTES: usize = 512 << 10;
const READ_BUFFERS: usize = 32;

/// Microseconds of a call: the median of batches.
fn time(mut call: impl FnMut()) -> f64 {
    const BATCH: u32 = 64;
    let (start, mut batches) = (Instant::now(), Vec::new());
    while start.elapsed() < SPELL {
        let batch = Instant::now();
        (0..BATCH).for_each(|_| call());
        batches.push(batch.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH));
    }
    median(&batches).unwrap_or(0.0)
}

/// The sums of a command: of its data and of a header each way.
fn of_command(sum: fn(&[u8]) -> u32, data: &[u8], header: &[u8; HEADER]) {
    black_box(sum(black_box(data)));
    for _ in 0..2 {
        black_box(sum(black_box(header)));
    }
}

fn own(bytes: &[u8]) -> u32 {
    digest::append(0, bytes)
}

/// Fills `buffer` from the file, which begins again at its end.
fn fill(file: &File, at: &mut u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        let count = file.read_at(buffer, *at)?;
        *at = if count == 0 { 0 } else { *at + count as u64 };
        buffer = &mut buffer[count..];
    }
    Ok(())
}

/// Microseconds that the sums add to a read of the data from the page cache: the median of what pairs of
/// passes through the buffers differ in, with and without.
fn behind_reads(bytes: usize) -> io::Result<f64> {
    let file = File::open(std::env::current_exe()?)?;
    if file.metadata()?.len() == 0 {
        return Err(bad("this program's own file is empty"));
    }
    let count = (READ_BYTES / bytes).clamp(1, READ_BUFFERS);
    let mut buffers = vec![vec![0; bytes]; count];
    let (header, mut at) = ([0x5a; HEADER], 0);
    let mut pass = |has_sums: bool| -> io::Result<f64> {
        let start = Instant::now();
        for buffer in &mut buffers {
            fill(&file, &mut at, buffer)?;
            if has_sums {
                of_command(own, buffer, &header);
            }
        }
        Ok(start.elapsed().as_secs_f64() * 1e6 / count as f64)
    };
    let (start, mut more) = (Instant::now(), Vec::new());
    // The first pair may have to fetch the file.
    while more.len() < 2 || start.elapsed() < 5 * SPELL {
        let plain = pass(false)?;
        more.push(pass(true)? - plain);
    }
    Ok(median(&more[1..]).unwrap_or(0.0))
}

/// Measures the sums of a command with so many bytes of data, on the processor that this program has: as
/// scstud makes them here, by themselves and behind reads, and by the crate `crc32c`. A JSON object of
/// microseconds.
pub fn sums(bytes: usize) -> io::Result<String> {
    let data: Vec<u8> = (0..bytes).map(|at| at.to_le_bytes()[0]).collect();
    let by_itself = |sum| time(|| of_command(sum, &data, &[0x5a; HEADER]));
    let (own, other) = (by_itself(own), by_itself(crc32c::crc32c));
    let behind = behind_reads(bytes)?;
    Ok(format!("{{\"own\":{own:.4},\"crate\":{other:.4},\"read\":{behind:.4}}}"))
}

/// A load's figures in microseconds, a value for each round.
#[derive(Default)]
struct Figures {
    own: Vec<f64>,
    behind_reads: Vec<f64>,
    of_crate: Vec<f64>,
    plain: Vec<f64>,
    more: Vec<f64>,
}

fn quartile(values: &[f64], quarters: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len() * quarters / 4).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

fn table(all: &[(Cell, Figures)]) -> String {
    let mut text = String::from("| load | plain, CPU us | its CRC32C, us | by the crate crc32c |");
    text += " of bytes just read | more with digests | quartiles | of its CRC32C | of bytes just read |\n";
    text += "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    for (cell, figures) in all {
        let middle = |values: &[f64]| median(values).unwrap_or(0.0);
        let (low, high) = (quartile(&figures.more, 1), quartile(&figures.more, 3));
        let parts = |of: &[f64]| {
            middle(&figures.more.iter().zip(of).map(|(more, own)| more / own).collect::<Vec<f64>>())
        };
        text += &format!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {low:.2} to {high:.2} | {:.2} | {:.2} |\n",
            cell.name,
            middle(&figures.plain),
            middle(&figures.own),
            middle(&figures.of_crate),
            middle(&figures.behind_reads),
            middle(&figures.more),
            parts(&figures.own),
            parts(&figures.behind_reads),
        );
    }
    text
}

/// The target, and how loads are put on it.
struct Bench<'a> {
    own: PathBuf,
    peer: Peer,
    options: &'a Options,
}

/// A load that runs.
struct Load {
    program: Running,
    pid: u32,
    /// The target's thread for it, and the nanoseconds of CPU time that it was last seen to have used.
    thread: u32,
    cpu: u64,
}

impl Load {
    fn goes_on(&mut self) -> io::Result<bool> {
        self.cpu = process::of_thread(self.pid, self.thread).unwrap_or(self.cpu);
        Ok(self.program.0.try_wait()?.is_none())
    }

    fn cpu_of_a_command(mut self) -> io::Result<f64> {
        let mut json = String::new();
        self.program.0.stdout.take().map(|mut pipe| pipe.read_to_string(&mut json)).transpose()?;
        let commands = place::number(&json, "commands").filter(|commands| *commands > 0.0);
        let commands = commands.ok_or_else(|| bad(format!("no commands in {json:?}")))?;
        Ok(self.cpu as f64 / 1000.0 / commands)
    }
}

impl Bench<'_> {
    /// The JSON that this program prints with these words, on a processor.
    fn output(&self, processor: Option<&str>, words: &[&str]) -> io::Result<String> {
        place::output(place::command(&self.own, None, processor).args(words))
    }

    /// Begins a load, with or without digests.
    fn begin(&self, cell: &Cell, has_digests: bool) -> io::Result<Load> {
        let (pid, url) = self.peer.unit(cell.medium).ok_or_else(|| bad("scstud has no such unit"))?;
        let (pid, depth) = (pid.ok_or_else(|| bad("scstud has no PID"))?, cell.depth.to_string());
        let mut words = vec![url.as_str(), "--json", "--warm-up", "0", "--region", "256M"];
        words.extend(["--size", cell.size, "--depth", &depth, "--rw", cell.rw, "--time", &self.options.time]);
        words.extend(["--digests", "both"].into_iter().take(if has_digests { 2 } else { 0 }));
        let before = process::threads(pid, CONNECTION)?;
        let mut command = place::command(&self.own, None, self.options.load_processor());
        let program = Running(command.args(words).stdout(Stdio::piped()).spawn()?);
        let since = Instant::now();
        loop {
            if let Some(thread) = process::threads(pid, CONNECTION)?.difference(&before).next() {
                return Ok(Load { program, pid, thread: *thread, cpu: 0 });
            }
            if since.elapsed() > place::START {
                return Err(bad("scstud has no thread for the session"));
            }
            place::go_on()?;
            std::thread::sleep(GLANCE);
        }
    }

    /// Both loads at once: what disturbs one disturbs the other. Microseconds of the CPU time of the thread
    /// of each connection for a command, plain and with digests.
    fn both(&self, cell: &Cell, is_plain_first: bool) -> io::Result<(f64, f64)> {
        place::settle(self.options.quiet)?;
        let mut loads = [self.begin(cell, !is_plain_first)?, self.begin(cell, is_plain_first)?];
        // A thread takes its figures with it.
        while loads.iter_mut().map(Load::goes_on).collect::<io::Result<Vec<_>>>()?.contains(&true) {
            place::go_on()?;
            std::thread::sleep(GLANCE);
        }
        let [first, second] = loads.map(Load::cpu_of_a_command);
        Ok(if is_plain_first { (first?, second?) } else { (second?, first?) })
    }

    fn round(&self, round: usize, cell: &Cell, figures: &mut Figures) -> io::Result<()> {
        let sums = self.output(self.options.target_processor(), &["digests", "--sums", cell.size])?;
        let sum = |name| place::number(&sums, name).ok_or_else(|| bad(format!("no {name} in {sums}")));
        // Which is first changes, so that whoever comes second is no better off.
        let (plain, both) = self.both(cell, round % 2 == 0)?;
        figures.own.push(sum("own")?);
        figures.of_crate.push(sum("crate")?);
        figures.behind_reads.push(sum("read")?);
        figures.plain.push(plain);
        figures.more.push(both - plain);
        Ok(())
    }
}

/// Measures and tells.
pub fn digests(options: &Options) -> io::Result<()> {
    let all = cells().into_iter().filter(|cell| LOADS.contains(&cell.name.as_str())).collect();
    let cells = compare::wanted(all, &options.only)?;
    compare::with_file(options, |folder, file| digests_on(options, cells, folder, file))
}

fn digests_on(options: &Options, cells: Vec<Cell>, folder: &Folder, file: &Path) -> io::Result<()> {
    let mut all: Vec<(Cell, Figures)> = cells.into_iter().map(|cell| (cell, Figures::default())).collect();
    let processor = options.target_processor();
    let settings = Settings { folder: &folder.0, file, processor, spdk: None, needs_many: false };
    let peer = peers::start("scstu+poll_us=0+zero_copy=0", &settings)?;
    let bench = Bench { own: std::env::current_exe()?, peer, options };
    for round in 0..options.rounds {
        for (cell, figures) in &mut all {
            place::say(&format!("round {} of {}: {}", round + 1, options.rounds, cell.name));
            bench.round(round, cell, figures)?;
        }
    }
    print!("{}", table(&all));
    Ok(())
}
