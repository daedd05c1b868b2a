//! A checker of Prometheus' text format, written from its description: it shares no code with the page.
#![allow(dead_code, clippy::unwrap_used)] // Each test uses a part; a test panics to fail.

use std::collections::{BTreeMap, HashSet};

/// A line with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A page that keeps every rule of the format.
#[derive(Debug)]
pub struct Page {
    pub samples: Vec<Sample>,
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Page {
    pub fn parse(text: &str) -> Result<Page, String> {
        if !text.ends_with('\n') {
            return Err("the last line does not end".to_owned());
        }
        let mut page = Page { samples: Vec::new() };
        let mut families: BTreeMap<String, String> = BTreeMap::new();
        let mut help: Option<String> = None;
        let mut family = String::new();
        let mut seen = HashSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let name = rest.split(' ').next().unwrap().to_owned();
                if !is_name(&name) || families.contains_key(&name) {
                    return Err(format!("{line}: a bad name, or the family twice"));
                }
                help = Some(name);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or(line)?;
                if help.as_deref() != Some(name) {
                    return Err(format!("{line}: no HELP before it"));
                }
                if !["counter", "gauge", "histogram"].contains(&kind) {
                    return Err(format!("{line}: no such type"));
                }
                if (kind == "counter") != name.ends_with("_total") {
                    return Err(format!("{line}: counters and nothing else end with _total"));
                }
                family = name.to_owned();
                families.insert(name.to_owned(), kind.to_owned());
            } else {
                let sample = sample(line)?;
                let suffix =
                    sample.name.strip_prefix(family.as_str()).ok_or("a sample outside its family")?;
                let allowed: &[&str] = match families.get(&family).ok_or("no TYPE")?.as_str() {
                    "histogram" => &["_bucket", "_sum", "_count"],
                    _ => &[""],
                };
                if !allowed.contains(&suffix) || !seen.insert(format!("{}{:?}", sample.name, sample.labels)) {
                    return Err(format!("{line}: a wrong name, or the series twice"));
                }
                page.samples.push(sample);
            }
        }
        page.check_histograms(&families)?;
        Ok(page)
    }

    /// Buckets grow to `+Inf`, which equals the count; a sum is there.
    fn check_histograms(&self, families: &BTreeMap<String, String>) -> Result<(), String> {
        for name in families.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for sample in self.samples.iter().filter(|s| s.name == format!("{name}_bucket")) {
                let mut labels = sample.labels.clone();
                let bound = labels.remove("le").ok_or("a bucket without le")?;
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().map_err(|_| bound)? };
                series.entry(format!("{labels:?}")).or_default().push((bound, sample.value));
            }
            for (labels, buckets) in series {
                let grows = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
                let last = buckets.last().unwrap();
                let find = |suffix: &str| {
                    let name = format!("{name}{suffix}");
                    self.samples.iter().find(|s| s.name == name && format!("{:?}", s.labels) == labels)
                };
                let count = find("_count").ok_or("no count")?.value;
                find("_sum").ok_or("no sum")?;
                if !grows || last.0 != f64::INFINITY || last.1 != count {
                    return Err(format!("{name} {labels}: bad buckets {buckets:?}"));
                }
            }
        }
        Ok(())
    }

    /// The sum of the samples with this name and these labels; `None` without any.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value))
        };
        let values: Vec<f64> = self.samples.iter().filter(has).map(|sample| sample.value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or(line)?;
    let name = line[..end].to_owned();
    if !is_name(&name) {
        return Err(format!("{line}: a bad name"));
    }
    let (labels, rest) = match line[end..].strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), &line[end..]),
    };
    let value = rest.strip_prefix(' ').ok_or(line)?;
    let value = value.parse().map_err(|_| format!("{line}: no number"))?;
    Ok(Sample { name, labels, value })
}

fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"").ok_or(rest)?;
        if !is_name(name) {
            return Err(format!("{name}: a bad label"));
        }
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().ok_or("an open label")? {
                (at, '"') => break at,
                (_, '\\') => match characters.next().ok_or("an open label")?.1 {
                    'n' => value.push('\n'),
                    c @ ('\\' | '"') => value.push(c),
                    c => return Err(format!("a bad escape {c}")),
                },
                (_, c) => value.push(c),
            }
        };
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("{name}: a label twice"));
        }
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return rest.strip_prefix('}').map(|rest| (labels, rest)).ok_or(rest.to_owned()),
        }
    }
}
