//! The pool of buffers as SCST shows its own (`sgv`, SCST 1.2): one pool, a row for each size.

use crate::attr::{Attr, Error, Kind, Saved, Value};
use crate::backstore::buffer::{BufferPool, ClassFigures};

/// The only pool, by SCST's name of its first.
pub const POOL: &str = "sgv";

/// Unit of the figures in bytes.
const PAGE: usize = 4096;

fn pages(count: u64, figures: &ClassFigures) -> u64 {
    count * (figures.bytes / PAGE) as u64
}

/// A line in SCST's columns.
fn line(name: &str, hits: &str, total: &str, merged: &str, cached: &str) -> String {
    format!("{name:<30} {hits:<11} {total:<11} {merged:<11} {cached}")
}

/// Pages and buffers that there are, and of the pages those that nobody uses.
fn cached(own: &ClassFigures) -> [u64; 3] {
    [pages(own.out + own.idle, own), pages(own.idle, own), own.out + own.idle]
}

fn row(name: &str, all: &[ClassFigures]) -> String {
    let sum = |of: fn(&ClassFigures) -> u64| all.iter().map(of).sum::<u64>();
    let [pages, idle, buffers] = [0, 1, 2].map(|at| all.iter().map(|own| cached(own)[at]).sum::<u64>());
    line(
        name,
        &sum(|own| own.hits).to_string(),
        &sum(|own| own.total).to_string(),
        "0",
        &format!("{pages}/{idle}/{buffers}"),
    )
}

fn reset(pool: &mut BufferPool, _value: Value) -> Result<(), Error> {
    pool.reset_figures();
    Ok(())
}

/// Attributes of all pools together.
pub static GLOBAL_ATTRIBUTES: &[Attr<BufferPool>] = &[Attr {
    name: "global_stats",
    kind: Kind::Trigger,
    saved: Saved::Never,
    help: "memory for data in pages of 4 KiB: kept and in use, the most that may be in use, how often \
           memory was freed and refused; writing counts from zero again",
    get: |pool| {
        let figures = pool.figures();
        let idle: u64 = figures.iter().map(|own| pages(own.idle, own)).sum();
        let released: u64 = figures.iter().map(|own| own.released).sum();
        let (used, budget, refused) = (pool.in_use() / PAGE, pool.budget() / PAGE, pool.refused());
        [
            format!("{:<42} {idle}/{used}", "Inactive/active pages"),
            format!("{:<42} {budget}/{budget}", "Hi/lo watermarks [pages]"),
            format!("{:<42} {released}/{refused}", "Hi watermark releases/failures"),
            format!("{:<42} 0", "Other allocs"),
            format!("{:<42} 0", "Other pages"),
        ]
        .join("\n")
    },
    set: reset,
    ..Attr::ROW
}];

/// Attributes of the pool.
pub static POOL_ATTRIBUTES: &[Attr<BufferPool>] = &[Attr {
    name: "stats",
    kind: Kind::Trigger,
    saved: Saved::Never,
    help: "buffers by size: found in the pool, asked for, and pages, idle pages and buffers that there are; \
           nothing is merged; writing counts from zero again",
    get: |pool| {
        let figures = pool.figures();
        let mut lines = vec![line("Name", "Hit", "Total", "% merged", "Cached (P/I/O)"), row(POOL, &figures)];
        for own in &figures {
            lines.push(row(&format!("  {POOL}-{}K", own.bytes >> 10), std::slice::from_ref(own)));
        }
        lines.join("\n")
    },
    set: reset,
    ..Attr::ROW
}];
