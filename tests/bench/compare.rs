//! Targets side by side: the same loads on each in alternating rounds, so that what else the machine does
//! hits all of them alike; medians, ratios, charts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::calls;
use crate::cells::{Cell, Medium, cells};
use crate::peers::{Peer, Settings, start};
use crate::place::{self, Folder, Running, median};
use crate::plot::{Axis, Series, Spread, chart};
use crate::session::bad;

/// Bytes of the file that is read and written.
const FILE_BYTES: u64 = 256 << 20;

/// How to compare.
pub struct Options {
    pub peers: Vec<String>,
    /// Parts of names of cells; all without.
    pub only: Vec<String>,
    pub rounds: usize,
    pub time: String,
    /// Processor of the targets and processor of the load.
    pub processors: Option<(String, String)>,
    /// Folder of the file; the system's for temporary files without.
    pub file_folder: Option<PathBuf>,
    pub out: Option<PathBuf>,
    /// SPDK's `iscsi_tgt`, where it is not on the path.
    pub spdk: Option<PathBuf>,
    /// How long each sample waits for a machine that does nothing else.
    pub quiet: Duration,
}

/// Values of one cell of one peer, by the name of the figure.
type Figures = BTreeMap<&'static str, Vec<f64>>;

const FIGURES: [&str; 7] =
    ["target_cpu_us", "target_switches", "iops", "p50_us", "p99_us", "client_cpu_us", "fairness"];

/// System calls of the target for a command.
const CALLS: &str = "target_calls";

impl Options {
    pub fn target_processor(&self) -> Option<&str> {
        self.processors.as_ref().map(|(target, _)| target.as_str())
    }

    pub fn load_processor(&self) -> Option<&str> {
        self.processors.as_ref().map(|(_, load)| load.as_str())
    }
}

struct Comparison {
    /// This program.
    own: PathBuf,
    peers: Vec<Peer>,
    cells: Vec<Cell>,
    figures: BTreeMap<(usize, usize), Figures>,
}

impl Comparison {
    fn middle(&self, cell: usize, peer: usize, figure: &str) -> Option<f64> {
        median(self.figures.get(&(cell, peer))?.get(figure)?)
    }

    /// The words for one load on one peer, and the process that it is on.
    fn load(&self, cell: &Cell, peer: usize, options: &Options) -> Option<(Command, Option<u32>)> {
        let (pid, url) = self.peers[peer].unit(cell.medium)?;
        let mut command = place::command(&self.own, None, options.load_processor());
        let depth = cell.depth.to_string();
        command.args([url, "--json", "--region", "256M", "--size", cell.size, "--depth", &depth]);
        command.args(["--rw", cell.rw]).args(cell.more);
        if let Some(pid) = pid {
            command.args(["--pid", &pid.to_string()]);
        }
        Some((command, *pid))
    }

    /// The load beside the one that is measured.
    fn neighbour(&self, cell: &Cell, peer: usize, options: &Options) -> io::Result<Option<Running>> {
        let unit = self.peers[peer].unit(Medium::File).filter(|_| !cell.neighbour.is_empty());
        let Some((_, url)) = unit else { return Ok(None) };
        let mut command = place::command(&self.own, None, options.load_processor());
        command.args([url, "--region", "256M", "--time", "3600"]).args(&cell.neighbour);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Some(Running(command.spawn()?)))
    }

    /// One sample, `None` where the peer does not have that unit.
    fn sample(&self, cell: &Cell, peer: usize, options: &Options) -> io::Result<Option<String>> {
        let Some((mut command, _)) = self.load(cell, peer, options) else { return Ok(None) };
        place::settle(options.quiet)?;
        let _awake = self.peers[peer].awake()?;
        let _neighbour = self.neighbour(cell, peer, options)?;
        place::output(command.args(["--time", &options.time])).map(Some)
    }

    fn measure(&mut self, options: &Options) -> io::Result<()> {
        let mut failed = Vec::new();
        for round in 0..options.rounds {
            for number in 0..self.cells.len() {
                let cell = self.cells[number].clone();
                place::say(&format!("round {} of {}: {}", round + 1, options.rounds, cell.name));
                for turn in 0..self.peers.len() {
                    let at = (turn + round) % self.peers.len();
                    if failed.contains(&(number, at)) {
                        continue;
                    }
                    match self.sample(&cell, at, options) {
                        Ok(None) => {}
                        Ok(Some(json)) => {
                            let figures = self.figures.entry((number, at)).or_default();
                            for figure in FIGURES {
                                figures.entry(figure).or_default().extend(place::number(&json, figure));
                            }
                        }
                        Err(error) => {
                            place::go_on()?;
                            place::say(&format!("  {}: {error}", self.peers[at].name));
                            failed.push((number, at));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Counts system calls, in a round of its own that nobody times.
    fn count_calls(&mut self, options: &Options, folder: &Path) -> io::Result<()> {
        let Err(error) = calls::probe(folder) else {
            place::say("system calls");
            for number in 0..self.cells.len() {
                for at in 0..self.peers.len() {
                    place::go_on()?;
                    if let Err(error) = self.count_calls_of(number, at, options, folder) {
                        place::say(&format!("  {}: {error}", self.peers[at].name));
                    }
                }
            }
            return Ok(());
        };
        place::say(&format!("system calls are not counted: {error}"));
        Ok(())
    }

    fn count_calls_of(&mut self, cell: usize, peer: usize, options: &Options, out: &Path) -> io::Result<()> {
        let Some(iops) = self.middle(cell, peer, "iops") else { return Ok(()) };
        let sessions = self.cells[cell].sessions();
        let Some((mut load, Some(pid))) = self.load(&self.cells[cell], peer, options) else { return Ok(()) };
        // About a third of a second of it, and enough for logins not to count.
        let third: usize = format!("{:.0}", iops / 3.0).parse().unwrap_or(0);
        let each = (third / sessions).clamp(2000 / sessions + 20, 100_000);
        load.args(["--commands", &each.to_string()]);
        let awake = self.peers[peer].awake()?;
        let neighbour = self.neighbour(&self.cells[cell], peer, options)?;
        let count = calls::count(pid, &load, out);
        drop((awake, neighbour));
        let each = count? / (each * sessions) as f64;
        self.figures.entry((cell, peer)).or_default().insert(CALLS, vec![each]);
        Ok(())
    }

    /// Microseconds of CPU for a command with the ratio to the first peer, thousands of commands a second,
    /// latencies, context switches and system calls, and the share of the session that had least.
    fn table(&self) -> String {
        let mut text = String::from("| load |");
        for peer in &self.peers {
            let _ = write!(text, " {} |", peer.name);
        }
        text += "\n|---|";
        text += &"---:|".repeat(self.peers.len());
        for (number, cell) in self.cells.iter().enumerate() {
            let _ = write!(text, "\n| {} |", cell.name);
            let first = self.middle(number, 0, "target_cpu_us");
            for peer in 0..self.peers.len() {
                let get = |figure| self.middle(number, peer, figure);
                let (Some(iops), Some(p50)) = (get("iops"), get("p50_us")) else {
                    text += " - |";
                    continue;
                };
                let cpu = match (get("target_cpu_us"), first) {
                    (Some(cpu), Some(first)) if first > 0.0 => format!("{cpu:.2} us ({:.2}x)", cpu / first),
                    (Some(cpu), _) => format!("{cpu:.2} us"),
                    (None, _) => "-".to_owned(),
                };
                let latency = format!("p50 {p50:.0} p99 {:.0}", get("p99_us").unwrap_or(0.0));
                let _ = write!(text, " {cpu} {:.1}k {latency}", iops / 1000.0);
                for (figure, unit) in [("target_switches", "cs"), (CALLS, "sc")] {
                    text += &get(figure).map_or(String::new(), |n| format!(" {n:.2} {unit}"));
                }
                let least = get("fairness").filter(|_| cell.sessions() > 1);
                text += &least.map_or(String::new(), |least| format!(" least {least:.2}"));
                text += " |";
            }
        }
        text + "\n"
    }

    fn json(&self) -> String {
        let mut rows = Vec::new();
        for ((cell, peer), figures) in &self.figures {
            let values: Vec<String> =
                figures.iter().map(|(name, all)| format!("\"{name}\":{all:?}")).collect();
            let (cell, peer) = (&self.cells[*cell].name, &self.peers[*peer].name);
            rows.push(format!("{{\"load\":\"{cell}\",\"peer\":\"{peer}\",{}}}", values.join(",")));
        }
        format!("[\n{}\n]\n", rows.join(",\n"))
    }

    /// A line per peer through the cells that `pick` gives a point for.
    fn lines(&self, pick: impl Fn(&Cell, &dyn Fn(&str) -> Option<f64>) -> Option<(f64, f64)>) -> Vec<Series> {
        let line = |(at, peer): (usize, &Peer)| {
            let point =
                |(number, cell): (usize, &Cell)| pick(cell, &|figure| self.middle(number, at, figure));
            let points: Vec<_> = self.cells.iter().enumerate().filter_map(point).collect();
            Series { name: peer.name.clone(), points, is_dashed: false }
        };
        self.peers.iter().enumerate().map(line).filter(|line| line.points.len() > 1).collect()
    }

    /// Latencies of the paced cells over the rates that were reached: the median, and in dashes what one
    /// command of a hundred takes at least.
    fn latencies(&self) -> Vec<Series> {
        let paced = |figure: &'static str| {
            self.lines(|cell, get| Some((get("iops").filter(|_| cell.is_paced())?, get(figure)?)))
        };
        let slow = paced("p99_us").into_iter();
        let slow = slow.map(|line| Series { name: format!("{}, p99", line.name), is_dashed: true, ..line });
        paced("p50_us").into_iter().chain(slow).collect()
    }

    fn charts(&self, out: &Path) -> io::Result<()> {
        let cpu = "CPU of the target, us a command";
        let is_null = |cell: &Cell| cell.medium == Medium::Null && cell.is_plain();
        let is_file = |cell: &Cell| cell.medium == Medium::File && cell.is_plain();
        let linear = |label| Axis { label, spread: Spread::Linear };
        let logarithmic = |label| Axis { label, spread: Spread::Logarithmic };
        let depth = || Axis { label: "commands out", spread: Spread::Doubling };
        let by_depth = |figure: &'static str| {
            self.lines(|cell, get| Some((cell.depth as f64, get(figure).filter(|_| is_null(cell))?)))
        };
        let deeper = self.lines(|cell, get| Some((get("iops").filter(|_| is_null(cell))?, get("p50_us")?)));
        let size = self.lines(|cell, get| {
            let bytes = crate::bytes(cell.size)? as f64;
            Some((bytes, get("target_cpu_us").filter(|_| is_file(cell) && cell.rw == "read")?))
        });
        let charts = [
            ("iops", "512-byte reads, null", depth(), linear("commands a second"), by_depth("iops")),
            ("cpu", "512-byte reads, null", depth(), logarithmic(cpu), by_depth("target_cpu_us")),
            (
                "latency",
                "512-byte reads at a pace, null",
                logarithmic("commands a second"),
                logarithmic("median latency and p99, us"),
                self.latencies(),
            ),
            (
                "latency-depth",
                "512-byte reads, deeper and deeper, null",
                linear("commands a second"),
                logarithmic("median latency, us"),
                deeper,
            ),
            ("size", "reads of a cached file", logarithmic("bytes of a command"), logarithmic(cpu), size),
        ];
        for (name, title, x, y, lines) in charts {
            if !lines.is_empty() {
                fs::write(out.join(format!("{name}.svg")), chart(title, &x, &y, &lines))?;
            }
        }
        Ok(())
    }
}

/// Compares and tells.
pub fn compare(options: &Options) -> io::Result<()> {
    let cells = wanted(cells(), &options.only)?;
    with_file(options, |folder, file| compare_on(options, cells, folder, file))
}

/// Does work that wants a folder, and a file in the page cache.
pub fn with_file(options: &Options, work: impl FnOnce(&Folder, &Path) -> io::Result<()>) -> io::Result<()> {
    let folder = Folder::new()?;
    let file_folder = options.file_folder.clone().unwrap_or_else(|| folder.0.clone());
    let file = file_folder.join(format!("scstu-bench-{}.img", std::process::id()));
    fs::write(&file, vec![0x5a; usize::try_from(FILE_BYTES).unwrap_or(0)])
        .map_err(|error| bad(format!("{}: {error}", file.display())))?;
    let outcome = work(&folder, &file);
    fs::remove_file(&file)?;
    outcome
}

/// Of `all`, the cells of these names, and those whose name has such a word in it where no cell has it for a
/// name.
pub fn wanted(all: Vec<Cell>, only: &[String]) -> io::Result<Vec<Cell>> {
    let is_name = |word: &String| all.iter().any(|cell| cell.name == *word);
    let has = |cell: &Cell, word: &String| {
        if is_name(word) { cell.name == *word } else { cell.name.contains(word.as_str()) }
    };
    if let Some(wrong) = only.iter().find(|word| !all.iter().any(|cell| has(cell, word))) {
        let names: Vec<&str> = all.iter().map(|cell| cell.name.as_str()).collect();
        return Err(bad(format!("--only: \"{wrong}\" is in none of {}", names.join(", "))));
    }
    let is_wanted = |cell: &&Cell| only.is_empty() || only.iter().any(|word| has(cell, word));
    Ok(all.iter().filter(is_wanted).cloned().collect())
}

fn compare_on(options: &Options, cells: Vec<Cell>, folder: &Folder, file: &Path) -> io::Result<()> {
    let processor = options.target_processor();
    let needs_many = cells.iter().any(|cell| matches!(cell.medium, Medium::Units | Medium::Targets));
    let spdk = options.spdk.as_deref();
    let settings = Settings { folder: &folder.0, file, processor, spdk, needs_many };
    let mut peers = Vec::new();
    for name in &options.peers {
        match start(name, &settings) {
            Ok(peer) => peers.push(peer),
            Err(error) => place::say(&format!("without {name}: {error}")),
        }
    }
    if peers.is_empty() {
        return Err(bad("nothing to compare"));
    }
    let own = std::env::current_exe()?;
    let mut comparison = Comparison { own, peers, cells, figures: BTreeMap::new() };
    comparison.measure(options)?;
    comparison.count_calls(options, folder.0.as_path())?;
    print!("{}", comparison.table());
    if let Some(out) = &options.out {
        fs::create_dir_all(out)?;
        fs::write(out.join("table.md"), comparison.table())?;
        fs::write(out.join("results.json"), comparison.json())?;
        comparison.charts(out)?;
        place::say(&format!("table, results and charts are in {}", out.display()));
    }
    Ok(())
}
