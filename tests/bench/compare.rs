//! Targets side by side: the same loads on each in alternating rounds, so that what else the machine does
//! hits all of them alike; medians, ratios, charts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::peers::{Medium, Peer, Settings, start};
use crate::place::{self, Folder, median};
use crate::plot::{Axis, Series, chart};
use crate::session::bad;

/// Bytes of the file that is read and written.
const FILE_BYTES: u64 = 256 << 20;

/// A load.
#[derive(Clone, Debug)]
pub struct Cell {
    pub name: String,
    medium: Medium,
    size: &'static str,
    depth: usize,
    is_read: bool,
    /// More words for the load generator.
    more: &'static [&'static str],
}

/// What is measured unless cells are named.
fn cells() -> Vec<Cell> {
    let cell = |medium, size: &'static str, depth: usize, is_read: bool| Cell {
        name: format!(
            "{} {size} {} qd{depth}",
            if medium == Medium::Null { "null" } else { "file" },
            if is_read { "read" } else { "write" }
        ),
        medium,
        size,
        depth,
        is_read,
        more: &[],
    };
    let mut cells: Vec<Cell> =
        [1, 2, 4, 8, 16, 32, 64, 128].map(|depth| cell(Medium::Null, "512", depth, true)).into();
    for is_read in [true, false] {
        for (size, depth) in [("4k", 32), ("64k", 8), ("1M", 4)] {
            cells.push(cell(Medium::File, size, depth, is_read));
        }
    }
    for (size, depth, is_read) in [("4k", 32, true), ("64k", 8, true), ("64k", 8, false)] {
        let plain = cell(Medium::File, size, depth, is_read);
        cells.push(Cell { name: format!("{} digests", plain.name), more: &["--digests", "both"], ..plain });
    }
    for (sessions, more) in [
        ("4", &["--sessions", "4"][..]),
        ("64", &["--sessions", "64"][..]),
        ("1000", &["--sessions", "1000"][..]),
    ] {
        let one = cell(Medium::Null, "512", if sessions == "4" { 8 } else { 1 }, true);
        cells.push(Cell { name: format!("{} x{sessions}", one.name), more, ..one });
    }
    cells
}

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
}

/// Values of one cell of one peer, by the name of the figure.
type Figures = BTreeMap<&'static str, Vec<f64>>;

const FIGURES: [&str; 7] =
    ["target_cpu_us", "target_switches", "iops", "p50_us", "p99_us", "client_cpu_us", "fairness"];

struct Comparison {
    peers: Vec<Peer>,
    cells: Vec<Cell>,
    figures: BTreeMap<(usize, usize), Figures>,
}

impl Comparison {
    fn middle(&self, cell: usize, peer: usize, figure: &str) -> Option<f64> {
        median(self.figures.get(&(cell, peer))?.get(figure)?)
    }

    fn measure(&mut self, options: &Options) -> io::Result<()> {
        let own = std::env::current_exe()?;
        let processor = options.processors.as_ref().map(|(_, load)| load.as_str());
        let mut failed = Vec::new();
        for round in 0..options.rounds {
            for (number, cell) in self.cells.iter().enumerate() {
                place::say(&format!("round {} of {}: {}", round + 1, options.rounds, cell.name));
                for turn in 0..self.peers.len() {
                    let at = (turn + round) % self.peers.len();
                    let Some((pid, url)) = self.peers[at].unit(cell.medium) else { continue };
                    if failed.contains(&(number, at)) {
                        continue;
                    }
                    let mut command = place::command(&own, None, processor);
                    let depth = cell.depth.to_string();
                    command.args([url, "--json", "--region", "256M", "--size", cell.size, "--depth", &depth]);
                    command.args([
                        "--time",
                        &options.time,
                        "--rw",
                        if cell.is_read { "read" } else { "write" },
                    ]);
                    command.args(cell.more);
                    if let Some(pid) = pid {
                        command.args(["--pid", &pid.to_string()]);
                    }
                    match place::output(&mut command) {
                        Ok(json) => {
                            let figures = self.figures.entry((number, at)).or_default();
                            for figure in FIGURES {
                                figures.entry(figure).or_default().extend(place::number(&json, figure));
                            }
                        }
                        Err(error) => {
                            place::say(&format!("  {}: {error}", self.peers[at].name));
                            failed.push((number, at));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Microseconds of CPU for a command with the ratio to the first peer, thousands of commands a second,
    /// median latency and switches.
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
                let switches = get("target_switches").map_or(String::new(), |n| format!(" {n:.2} cs"));
                let _ = write!(text, " {cpu} {:.1}k p50 {p50:.0}{switches} |", iops / 1000.0);
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

    /// A line per peer through the plain cells that `pick` gives a point for.
    fn lines(&self, pick: impl Fn(&Cell, &dyn Fn(&str) -> Option<f64>) -> Option<(f64, f64)>) -> Vec<Series> {
        let line = |(at, peer): (usize, &Peer)| {
            let point = |(number, cell): (usize, &Cell)| {
                pick(cell, &|figure| self.middle(number, at, figure)).filter(|_| cell.more.is_empty())
            };
            let points: Vec<_> = self.cells.iter().enumerate().filter_map(point).collect();
            Series { name: peer.name.clone(), points, is_dashed: false }
        };
        self.peers.iter().enumerate().map(line).filter(|line| line.points.len() > 1).collect()
    }

    fn charts(&self, out: &Path) -> io::Result<()> {
        let (depth, cpu) = ("commands out", "CPU of the target, us a command");
        let is_null = |cell: &Cell| cell.medium == Medium::Null;
        let axis = |label, is_logarithmic| Axis { label, is_logarithmic };
        let by_depth = |figure: &'static str| {
            self.lines(|cell, get| Some((cell.depth as f64, get(figure).filter(|_| is_null(cell))?)))
        };
        let load = self.lines(|cell, get| Some((get("iops").filter(|_| is_null(cell))?, get("p50_us")?)));
        let size = self.lines(|cell, get| {
            let bytes = crate::bytes(cell.size)? as f64;
            Some((bytes, get("target_cpu_us").filter(|_| !is_null(cell) && cell.is_read)?))
        });
        let charts = [
            (
                "iops",
                "512-byte reads, null",
                axis(depth, true),
                axis("commands a second", false),
                by_depth("iops"),
            ),
            ("cpu", "512-byte reads, null", axis(depth, true), axis(cpu, true), by_depth("target_cpu_us")),
            (
                "latency",
                "512-byte reads, null",
                axis("commands a second", false),
                axis("median latency, us", true),
                load,
            ),
            ("size", "reads of a cached file", axis("bytes of a command", true), axis(cpu, true), size),
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
    let folder = Folder::new()?;
    let file_folder = options.file_folder.clone().unwrap_or_else(|| folder.0.clone());
    let file = file_folder.join(format!("scstu-bench-{}.img", std::process::id()));
    fs::write(&file, vec![0x5a; usize::try_from(FILE_BYTES).unwrap_or(0)])?;
    let outcome = compare_on(options, &folder, &file);
    fs::remove_file(&file)?;
    outcome
}

fn compare_on(options: &Options, folder: &Folder, file: &Path) -> io::Result<()> {
    let processor = options.processors.as_ref().map(|(target, _)| target.as_str());
    let settings = Settings { folder: &folder.0, file, processor };
    let mut peers = Vec::new();
    for name in &options.peers {
        match start(name, &settings) {
            Ok(peer) => peers.push(peer),
            Err(error) => place::say(&format!("without {name}: {error}")),
        }
    }
    let wanted =
        |cell: &Cell| options.only.is_empty() || options.only.iter().any(|part| cell.name.contains(part));
    let cells: Vec<Cell> = cells().into_iter().filter(wanted).collect();
    if peers.is_empty() || cells.is_empty() {
        return Err(bad("nothing to compare"));
    }
    let mut comparison = Comparison { peers, cells, figures: BTreeMap::new() };
    comparison.measure(options)?;
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
