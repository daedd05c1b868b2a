//! The loads of a comparison, a row each.

/// Where the load of a cell goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    /// Nothing is stored.
    Null,
    /// A file in the page cache, or past it.
    File,
    /// A thousand units of one target that store nothing.
    Units,
    /// A thousand targets with one unit each that stores nothing.
    Targets,
}

/// How many units or targets are many.
pub const MANY: usize = 1000;

/// A load.
#[derive(Clone, Debug)]
pub struct Cell {
    pub name: String,
    pub medium: Medium,
    pub size: &'static str,
    pub depth: usize,
    /// What the load generator is told to do: read, write, or a percentage of reads.
    pub rw: &'static str,
    /// More words for the load generator.
    pub more: &'static [&'static str],
    /// Words for another load generator that runs beside it, on the file.
    pub neighbour: Vec<&'static str>,
}

impl Cell {
    fn new(medium: Medium, size: &'static str, depth: usize, rw: &'static str) -> Self {
        let place = if medium == Medium::File { "file" } else { "null" };
        let what = if rw.starts_with(|first: char| first.is_ascii_digit()) { "mixed" } else { rw };
        let name = format!("{place} {size} {what} qd{depth}");
        Cell { name, medium, size, depth, rw, more: &[], neighbour: Vec::new() }
    }

    fn with(self, name: &str, more: &'static [&'static str]) -> Self {
        Cell { name: format!("{} {name}", self.name), more, ..self }
    }

    fn paced(rate: &'static [&'static str; 2], name: &str) -> Self {
        Cell::new(Medium::Null, "512", 32, "read").with(&format!("rate {name}"), rate)
    }

    fn beside(self, name: &str, neighbour: &[&'static str]) -> Self {
        Cell { name: format!("{} beside {name}", self.name), neighbour: neighbour.into(), ..self }
    }

    /// Whether it is one session that keeps its commands out, and nothing else.
    pub fn is_plain(&self) -> bool {
        self.more.is_empty() && self.neighbour.is_empty()
    }

    /// Whether the load generator keeps a pace, and not as many commands out as it may.
    pub fn is_paced(&self) -> bool {
        self.more.contains(&"--rate")
    }

    /// How many sessions it has.
    pub fn sessions(&self) -> usize {
        let behind = self.more.iter().skip_while(|word| **word != "--sessions").nth(1);
        behind.and_then(|number| number.parse().ok()).unwrap_or(1)
    }
}

/// What is measured unless cells are named.
pub fn cells() -> Vec<Cell> {
    let (null, file) = (Medium::Null, Medium::File);
    let mut cells: Vec<Cell> =
        [1, 2, 4, 8, 16, 32, 64, 128].map(|depth| Cell::new(null, "512", depth, "read")).into();
    cells.extend([
        Cell::paced(&["--rate", "2000"], "2k"),
        Cell::paced(&["--rate", "10000"], "10k"),
        Cell::paced(&["--rate", "40000"], "40k"),
        Cell::paced(&["--rate", "160000"], "160k"),
    ]);
    for rw in ["read", "write"] {
        for (size, depth) in [("4k", 32), ("64k", 8), ("1M", 4)] {
            cells.push(Cell::new(file, size, depth, rw));
        }
    }
    for (size, depth, rw) in [("4k", 32, "read"), ("64k", 8, "read"), ("64k", 8, "write")] {
        cells.push(Cell::new(file, size, depth, rw).with("digests", &["--digests", "both"]));
    }
    cells.extend([
        Cell::new(null, "512", 8, "read").with("x4", &["--sessions", "4"]),
        Cell::new(null, "512", 1, "read").with("x64", &["--sessions", "64"]),
        Cell::new(null, "512", 1, "read").with("x1000", &["--sessions", "1000"]),
        Cell::new(null, "512", 32, "read").with("x8", &["--sessions", "8"]),
        Cell::new(file, "4k", 32, "70").with("x8", &["--sessions", "8"]),
        Cell::new(Medium::Units, "512", 32, "read").with("1000 units", &["--luns", "1000"]),
        Cell::new(Medium::Units, "512", 32, "read")
            .with("1000 units x8", &["--luns", "1000", "--sessions", "8"]),
        Cell::new(Medium::Targets, "512", 1, "read")
            .with("1000 targets x1000", &["--targets", "1000", "--sessions", "1000"]),
    ]);
    // The neighbours have blocks of their own: a read waits for an older write of the same blocks.
    let four = || Cell::new(file, "4k", 4, "read").with("x4", &["--sessions", "4", "--region", "128M"]);
    let reader = ["--size", "1M", "--depth", "8", "--drain", "8M", "--offset", "128M", "--region", "128M"];
    let writer = ["--size", "16M", "--depth", "1", "--rw", "write", "--offset", "128M", "--region", "128M"];
    cells.extend([four(), four().beside("slow reader", &reader), four().beside("16M writer", &writer)]);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_name_is_one_load() {
        let (cells, mut names) = (cells(), HashSet::new());
        assert!(cells.iter().all(|cell| names.insert(cell.name.as_str())), "{names:?}");
    }

    #[test]
    fn a_paced_load_has_the_rate_of_its_name() {
        let paced: Vec<Cell> = cells().into_iter().filter(Cell::is_paced).collect();
        assert!(paced.len() > 1);
        for cell in paced {
            let rate = format!(" rate {}k", cell.more[1].strip_suffix("000").unwrap());
            assert!(cell.name.ends_with(&rate), "{}", cell.name);
        }
    }
}
