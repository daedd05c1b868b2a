//! A backstore in C beside `vdisk_ram`, in one process: the same random reads on each, in alternating rounds.
//! `tests/examples.rs` compares the two by instructions.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use crate::place::{self, Running, median};
use crate::session::bad;

/// Size and depth of the loads.
const LOADS: [(&str, &str); 4] = [("512", "1"), ("512", "32"), ("4k", "1"), ("4k", "32")];
/// What the program serves as LUN 0, 1 and 2: a backstore in C that never blocks, the built-in one, and the
/// one in C as it is when it may block.
const UNITS: [&str; 3] = ["C", "vdisk_ram", "C, may block"];
const FIGURES: [&str; 2] = ["iops", "target_cpu_us"];

pub struct Options {
    /// The example `ram_backstore`, or another program that serves the two units.
    pub program: Option<PathBuf>,
    pub rounds: usize,
    pub time: String,
    /// Processor of the target and processor of the load.
    pub processors: Option<(String, String)>,
    /// Least part of the built-in one's rate that the one in C which never blocks must reach in each load.
    pub at_least: Option<f64>,
}

/// Values by load, unit and figure.
type Figures = BTreeMap<(usize, usize, &'static str), Vec<f64>>;

/// Starts the program; its URL without the LUN.
fn start(options: &Options) -> io::Result<(Running, String)> {
    let found = options.program.clone().or_else(|| place::find("ram_backstore"));
    let program = found.ok_or_else(|| bad("no ram_backstore here: make -C c-examples, then --program"))?;
    let processor = options.processors.as_ref().map(|(target, _)| target.as_str());
    let mut command = place::command(&program, None, processor);
    // It serves until this ends.
    let mut child = Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    if let Some(stdout) = child.0.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    let url = line.trim().strip_suffix("/0").filter(|url| url.starts_with("iscsi://"));
    let url = url.ok_or_else(|| bad(format!("{} says no URL of a LUN 0", program.display())))?;
    Ok((child, url.to_owned()))
}

fn measure(options: &Options, (pid, url): (u32, &str)) -> io::Result<Figures> {
    let own = std::env::current_exe()?;
    let processor = options.processors.as_ref().map(|(_, load)| load.as_str());
    let mut figures = Figures::new();
    for round in 0..options.rounds {
        for (load, (size, depth)) in LOADS.iter().enumerate() {
            place::say(&format!("round {} of {}: {size} depth {depth}", round + 1, options.rounds));
            for turn in 0..UNITS.len() {
                let unit = (turn + round) % UNITS.len();
                place::go_on()?;
                let mut command = place::command(&own, None, processor);
                command.args([&format!("{url}/{unit}"), "--json", "--region", "64M"]);
                command.args(["--size", size, "--depth", depth, "--time", &options.time]);
                let json = place::output(command.args(["--pid", &pid.to_string()]))?;
                for figure in FIGURES {
                    let value = place::number(&json, figure);
                    let value = value.ok_or_else(|| bad(format!("no {figure} in {json}")))?;
                    figures.entry((load, unit, figure)).or_default().push(value);
                }
            }
        }
    }
    Ok(figures)
}

/// Rates, those of C as parts of the built-in one's, and microseconds of CPU of the process for a command:
/// medians.
fn table(figures: &Figures) -> String {
    let mut text = String::from("| random reads |");
    let [own, built_in, blocking] = UNITS;
    for column in [
        format!("{own}, IOPS"),
        format!("{built_in}, IOPS"),
        format!("{blocking}, IOPS"),
        format!("{own}, part"),
        format!("{blocking}, part"),
        format!("{own}, CPU us"),
        format!("{built_in}, CPU us"),
        format!("{blocking}, CPU us"),
    ] {
        text += &format!(" {column} |");
    }
    text += &format!("\n|---|{}\n", "---:|".repeat(8));
    for (load, (size, depth)) in LOADS.iter().enumerate() {
        let get =
            |unit, figure| figures.get(&(load, unit, figure)).and_then(|all| median(all)).unwrap_or(0.0);
        let [own, built_in, blocking] = [0, 1, 2].map(|unit| get(unit, "iops"));
        let [own_cpu, built_in_cpu, blocking_cpu] = [0, 1, 2].map(|unit| get(unit, "target_cpu_us"));
        text += &format!(
            "| {size}, depth {depth} | {own:.0} | {built_in:.0} | {blocking:.0} | {:.2} | {:.2} \
             | {own_cpu:.2} | {built_in_cpu:.2} | {blocking_cpu:.2} |\n",
            own / built_in,
            blocking / built_in
        );
    }
    text
}

/// The loads in which the backstore in C that never blocks is below a part of the built-in one.
fn below(figures: &Figures, at_least: f64) -> Vec<String> {
    let rate = |load, unit| figures.get(&(load, unit, "iops")).and_then(|all| median(all)).unwrap_or(0.0);
    let part = |load| rate(load, 0) / rate(load, 1);
    let loads = LOADS.iter().enumerate().filter(|(load, _)| {
        // What is no number is not enough.
        part(*load).partial_cmp(&at_least).is_none_or(|order| order.is_lt())
    });
    loads.map(|(load, (size, depth))| format!("{size} at depth {depth}: {:.3}", part(load))).collect()
}

/// Measures and tells; answers whether it was enough.
pub fn embed(options: &Options) -> io::Result<bool> {
    let (child, url) = start(options)?;
    let figures = measure(options, (child.0.id(), &url))?;
    print!("{}", table(&figures));
    let Some(at_least) = options.at_least else { return Ok(true) };
    let below = below(&figures, at_least);
    if !below.is_empty() {
        eprintln!("scstu-bench: below {at_least} of vdisk_ram: {}", below.join(", "));
    }
    Ok(below.is_empty())
}
