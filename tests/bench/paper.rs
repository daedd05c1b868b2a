//! The regime in which Adaptive Nagle was published: a link of 1 Gb/s with frames of 9000 bytes, small reads,
//! one session; the four settings of `nagle` side by side, and what a model of the pipeline predicts. Their
//! threads sleep as soon as nothing is there, as those of the paper did (`poll_us 0`); a fifth target has its
//! attributes as they are by default, and the model is not judged by it.
//!
//! The link is a pair of virtual interfaces between two network namespaces, shaped by a token bucket; making
//! them takes root and iproute2. The load generator sends every command by itself, as initiators do.
//!
//! The model: a command takes `R0` when it is alone, which is the sum of all stages and of all waits for a
//! thread to wake up. At depth `q` the rate is `min(q / R0, 1 / B)`, where `B` is the busiest stage: the
//! target's thread, `c + s / n` with `n` answers to a segment, the link, or the load generator. `s` comes
//! from deep queues of `never` and `always` with 512 bytes, `c` from that of `never` at each size, the
//! generator's stage from deep queues too, the rest from depth 1. `n` is what was measured at the very point:
//! the model tells what gathering is worth, not how much of it there will be.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::compare::Options;
use crate::place::{self, Folder, median, number};
use crate::plot::{Axis, Series, Spread, chart};
use crate::session::bad;

const NAME: &str = "iqn.2026-01.org.scstu:bench";
/// Names of the targets, and their attributes.
const SETTINGS: [(&str, &str); 5] = [
    ("never", "nagle never\npoll_us 0\n"),
    ("adaptive", "nagle adaptive\npoll_us 0\n"),
    ("always", "nagle always\npoll_us 0\n"),
    ("coalesce", "nagle coalesce\npoll_us 0\n"),
    ("default", ""),
];
const DEPTHS: [usize; 9] = [1, 2, 4, 8, 16, 17, 32, 64, 128];
/// The target whose threads may look before they sleep.
const DEFAULT: usize = 4;
/// Where the stages are told apart: deep, and still within the burst of the shaper at 512 bytes.
const DEEP: usize = 64;
const SIZES: [usize; 4] = [SMALLEST, 1024, 2048, 4096];
/// Always measured: what a send costs is told by it.
const SMALLEST: usize = 512;
/// Bits a second of the link.
const RATE: f64 = 1e9;
/// Payload of a full segment of a frame of 9000 bytes, with time stamps.
const SEGMENT: f64 = 8948.0;
/// Bytes around a segment on the wire: Ethernet with preamble and gap, IP, TCP with time stamps.
const AROUND: f64 = 90.0;
/// Sends for an answer by which two settings must differ to tell what a send costs.
const APART: f64 = 0.2;
const TARGET_ADDRESS: &str = "10.99.0.1";

/// Two namespaces and the link between them; gone when this is dropped.
struct Link {
    target: String,
    initiator: String,
}

impl Link {
    fn new() -> io::Result<Self> {
        let number = std::process::id();
        let link = Link { target: format!("scstu-t{number}"), initiator: format!("scstu-i{number}") };
        for (space, own) in [(&link.target, "vt"), (&link.initiator, "vi")] {
            place::run(&format!("ip netns add {space}"))?;
            place::run(&format!("ip -n {space} link set lo up"))?;
            // A congestion control that paces would add a shaper of its own.
            let reno = format!("ip netns exec {space} sysctl -qw net.ipv4.tcp_congestion_control=reno");
            place::run(&reno)?;
            if own == "vi" {
                let (target, initiator) = (&link.target, &link.initiator);
                place::run(&format!(
                    "ip link add vt netns {target} type veth peer name vi netns {initiator}"
                ))?;
            }
        }
        for (space, own, address) in
            [(&link.target, "vt", TARGET_ADDRESS), (&link.initiator, "vi", "10.99.0.2")]
        {
            place::run(&format!("ip -n {space} addr add {address}/24 dev {own}"))?;
            place::run(&format!("ip -n {space} link set {own} mtu 9000 up"))?;
            // Segments larger than a frame would not be segments of the paper.
            let whole = format!("ip netns exec {space} ethtool -K {own} tso off gso off gro off");
            if place::find("ethtool").is_some() {
                place::run(&whole)?;
            } else {
                place::run(&format!("ip -n {space} link set {own} gso_max_size 9000 gso_max_segs 1"))?;
            }
            let shape = "root tbf rate 1gbit burst 64kb latency 50ms";
            place::run(&format!("tc -n {space} qdisc add dev {own} {shape}"))?;
        }
        Ok(link)
    }

    /// Segments with data that the target's side has sent.
    fn segments(&self) -> io::Result<f64> {
        let text = place::run(&format!("ip netns exec {} cat /proc/net/netstat", self.target))?;
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return Ok(0.0) };
        let at = names.split_whitespace().position(|name| name == "TCPOrigDataSent");
        let value = at.and_then(|at| values.split_whitespace().nth(at)?.parse().ok());
        value.ok_or_else(|| bad("no TCPOrigDataSent in /proc/net/netstat"))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for space in [&self.target, &self.initiator] {
            let _ = place::run(&format!("ip netns del {space}"));
        }
    }
}

/// One setting at one size and depth: the best rate and the least CPU time of the rounds, medians of the
/// rest.
#[derive(Clone, Copy, Default)]
struct Point {
    iops: f64,
    p50: f64,
    p99: f64,
    target_cpu: f64,
    client_cpu: f64,
    /// Answers to a segment.
    together: f64,
}

type Points = Vec<((usize, usize, usize), Point)>;

fn find(points: &Points, setting: usize, size: usize, depth: usize) -> Point {
    points
        .iter()
        .find(|(key, _)| *key == (setting, size, depth))
        .map_or(Point::default(), |(_, point)| *point)
}

fn conf(folder: &Folder) -> io::Result<PathBuf> {
    let mut text = String::from(
        "HANDLER vdisk_nullio {\nDEVICE null {\nsize 1G\n}\n}\nTARGET_DRIVER iscsi {\nenabled 1\n",
    );
    for (name, attributes) in SETTINGS {
        let _ = writeln!(text, "TARGET {NAME}.{name} {{\n{attributes}LUN 0 null\nenabled 1\n}}");
    }
    let path = folder.0.join("scst.conf");
    fs::write(&path, text + "}\n")?;
    Ok(path)
}

/// Measures, predicts, and tells both.
pub fn paper(options: &Options) -> io::Result<()> {
    let sizes = wanted(&options.only)?;
    let (folder, link) = (Folder::new()?, Link::new()?);
    let program = place::find("scstud").ok_or_else(|| bad("no scstud beside this program or on the path"))?;
    let processors = options.processors.as_ref();
    let mut command =
        place::command(&program, Some(&link.target), processors.map(|(target, _)| target.as_str()));
    command.arg("-c").arg(conf(&folder)?).arg("--state-dir").arg(folder.0.join("state"));
    command.args(["--portal", &format!("{TARGET_ADDRESS}:3260"), "--log-level", "warn"]);
    let (child, _) = place::start(command)?;
    let points = measure(options, &sizes, &link, child.0.id())?;
    drop(child);
    let (text, errors, cpu_errors) = report(&points);
    print!("{text}");
    if let Some(out) = &options.out {
        fs::create_dir_all(out)?;
        fs::write(out.join("paper.md"), &text)?;
        charts(&points, &sizes, out)?;
        place::say(&format!("table and charts are in {}", out.display()));
    }
    let middle = |errors: &[f64]| 100.0 * median(errors).unwrap_or(0.0);
    let (rate, cpu) = (middle(&errors), middle(&cpu_errors));
    place::say(&format!("prediction error: median {rate:.0} % of the rates, {cpu:.0} % of the CPU times"));
    Ok(())
}

/// The sizes that were asked for, by default all.
fn wanted(only: &[String]) -> io::Result<Vec<usize>> {
    let is_size = |word: &String| SIZES.iter().any(|size| size.to_string() == *word);
    if let Some(wrong) = only.iter().find(|word| !is_size(word)) {
        return Err(bad(format!("--only of paper wants sizes out of {SIZES:?}, not \"{wrong}\"")));
    }
    let is_wanted = |size: &usize| *size == SMALLEST || only.is_empty() || only.contains(&size.to_string());
    Ok(SIZES.into_iter().filter(is_wanted).collect())
}

fn measure(options: &Options, sizes: &[usize], link: &Link, pid: u32) -> io::Result<Points> {
    let own = std::env::current_exe()?;
    let processor = options.processors.as_ref().map(|(_, load)| load.as_str());
    let mut points = Points::new();
    for &size in sizes {
        for depth in DEPTHS {
            place::say(&format!("{size} bytes, {depth} out"));
            let mut values = vec![Vec::new(); SETTINGS.len()];
            for _ in 0..options.rounds {
                for (at, (setting, _)) in SETTINGS.iter().enumerate() {
                    let mut command = place::command(&own, Some(&link.initiator), processor);
                    command.arg(format!("iscsi://{TARGET_ADDRESS}:3260/{NAME}.{setting}/0"));
                    command.args(["--json", "--no-batch", "--warm-up", "0.1", "--time", &options.time]);
                    command.args(["--size", &size.to_string(), "--depth", &depth.to_string()]);
                    command.args(["--pid", &pid.to_string()]);
                    place::settle(options.quiet)?;
                    let before = link.segments()?;
                    let json = place::output(&mut command)?;
                    let sent = link.segments()? - before;
                    let get = |key| number(&json, key).unwrap_or(0.0);
                    // The warm-up sends too, at the same rate.
                    let all = get("iops") * (get("seconds") + 0.1);
                    values[at].push(Point {
                        iops: get("iops"),
                        p50: get("p50_us"),
                        p99: get("p99_us"),
                        target_cpu: get("target_cpu_us"),
                        client_cpu: get("client_cpu_us"),
                        together: all / sent.max(1.0),
                    });
                }
            }
            for (at, all) in values.iter().enumerate() {
                let middle = |pick: fn(&Point) -> f64| {
                    median(&all.iter().map(pick).collect::<Vec<_>>()).unwrap_or(0.0)
                };
                let point = Point {
                    // What else the machine does only ever lowers the rate, and costs time.
                    iops: all.iter().map(|p| p.iops).fold(0.0, f64::max),
                    p50: middle(|p| p.p50),
                    p99: middle(|p| p.p99),
                    target_cpu: all.iter().map(|p| p.target_cpu).fold(f64::MAX, f64::min),
                    client_cpu: all.iter().map(|p| p.client_cpu).fold(f64::MAX, f64::min),
                    together: middle(|p| p.together),
                };
                points.push(((at, size, depth), point));
            }
        }
    }
    Ok(points)
}

/// Microseconds that the target's answers to one command take on the link, `together` of them to a segment.
fn wire(size: usize, together: f64) -> f64 {
    let answer = 48.0 + size as f64;
    let full = SEGMENT / answer;
    let per_answer = if together.max(1.0) < full { AROUND / together.max(1.0) } else { AROUND / full };
    8.0 * (answer + per_answer) / RATE * 1e6
}

/// Microseconds that a send costs the target, `s`: through the two ends at the smallest size, where the link
/// is not what limits. A longer answer costs no more sends.
fn send_cost(points: &Points) -> f64 {
    let (never, always) = (find(points, 0, SMALLEST, DEEP), find(points, 2, SMALLEST, DEEP));
    let apart = 1.0 / never.together.max(0.01) - 1.0 / always.together.max(0.01);
    if apart > APART { (never.target_cpu - always.target_cpu).max(0.0) / apart } else { 0.0 }
}

/// Microseconds of the target's CPU for a command at a depth where its thread does not sleep between
/// commands: `c + s / n`.
fn predicted_cpu(points: &Points, setting: usize, size: usize, depth: usize) -> f64 {
    let (never, per_send) = (find(points, 0, size, DEEP), send_cost(points));
    let fixed = (never.target_cpu - per_send / never.together.max(0.01)).max(0.0);
    fixed + per_send / find(points, setting, size, depth).together.max(0.01)
}

/// Commands a second at a depth, as the stages measured elsewhere predict them.
fn predicted(points: &Points, setting: usize, size: usize, depth: usize) -> f64 {
    let alone = find(points, setting, size, 1);
    let here = find(points, setting, size, depth);
    let busiest = predicted_cpu(points, setting, size, depth)
        .max(wire(size, here.together))
        .max(find(points, setting, size, DEEP).client_cpu);
    // The median: the mean has in it what else the machine did.
    let round_trip = alone.p50.max(1.0);
    1e6 * (depth as f64 / round_trip).min(1.0 / busiest.max(0.01))
}

/// The table, and the errors of the rates and of the CPU times as parts.
fn report(points: &Points) -> (String, Vec<f64>, Vec<f64>) {
    let mut text = String::from(
        "| bytes | out | setting | IOPS | predicted | error | CPU us | predicted | error | \
         answers a segment | p50 us | p99 us |\n\
         |---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let (mut errors, mut cpu_errors) = (Vec::new(), Vec::new());
    for ((setting, size, depth), point) in points {
        let prediction = predicted(points, *setting, *size, *depth);
        let error = (prediction - point.iops) / point.iops.max(1.0);
        // The model knows only of threads that sleep.
        let is_judged = *setting != DEFAULT;
        if is_judged {
            errors.push(error.abs());
        }
        let cpu = match *depth {
            ..16 => String::from("- | -"),
            depth => {
                let cpu = predicted_cpu(points, *setting, *size, depth);
                let error = (cpu - point.target_cpu) / point.target_cpu.max(0.01);
                if is_judged {
                    cpu_errors.push(error.abs());
                }
                format!("{cpu:.2} | {:+.0} %", 100.0 * error)
            }
        };
        let _ = writeln!(
            text,
            "| {size} | {depth} | {} | {:.0} | {prediction:.0} | {:+.0} % | {:.2} | {cpu} | {:.1} | {:.0} | \
             {:.0} |",
            SETTINGS[*setting].0,
            point.iops,
            100.0 * error,
            point.target_cpu,
            point.together,
            point.p50,
            point.p99
        );
    }
    (text, errors, cpu_errors)
}

fn charts(points: &Points, sizes: &[usize], out: &Path) -> io::Result<()> {
    for &size in sizes {
        let line = |setting: usize, is_dashed: bool| Series {
            name: format!("{}{}", SETTINGS[setting].0, if is_dashed { ", model" } else { "" }),
            points: DEPTHS
                .iter()
                .map(|depth| {
                    let measured = find(points, setting, size, *depth).iops;
                    let y = if is_dashed { predicted(points, setting, size, *depth) } else { measured };
                    (*depth as f64, y)
                })
                .collect(),
            is_dashed,
        };
        let measured = (0..SETTINGS.len()).map(|at| line(at, false));
        let lines: Vec<Series> = measured.chain((0..DEFAULT).map(|at| line(at, true))).collect();
        let x = Axis { label: "commands out", spread: Spread::Doubling };
        let y = Axis { label: "commands a second", spread: Spread::Linear };
        let title = format!("{size}-byte reads, 1 Gb/s, frames of 9000 bytes");
        fs::write(out.join(format!("paper-{size}.svg")), chart(&title, &x, &y, &lines))?;
        let cpu = |setting: usize| Series {
            name: SETTINGS[setting].0.to_owned(),
            points: DEPTHS.iter().map(|d| (*d as f64, find(points, setting, size, *d).target_cpu)).collect(),
            is_dashed: false,
        };
        let lines: Vec<Series> = (0..SETTINGS.len()).map(cpu).collect();
        let y = Axis { label: "CPU of the target, us a command", spread: Spread::Logarithmic };
        fs::write(out.join(format!("paper-cpu-{size}.svg")), chart(&title, &x, &y, &lines))?;
    }
    Ok(())
}
