//! Figures for Prometheus, in its text format (version 0.0.4).
//!
//! [`render`] makes the page from what the server counts anyway; [`endpoint`] serves it. Nothing is measured
//! and nobody listens unless an address was given. The number of series is bounded: the I_T_L nexuses beyond
//! [`SERIES_LIMIT`] are added up in one with the labels `other`.

pub mod endpoint;

use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::iscsi::login_error::LoginStatus;
use crate::scsi::counters::{BUCKETS, Figures, Times};
use crate::scsi::sense::SenseKey;
use crate::server::Server;
use crate::server::sessions::Session;
use crate::server::totals::FUNCTIONS;

/// I_T_L nexuses with series of their own.
pub const SERIES_LIMIT: usize = 512;
/// Every so many buckets of a histogram are put together: powers of four of a microsecond are shown.
const BUCKET_STEP: usize = 2;

/// A page in the making.
struct Page {
    text: String,
    family: &'static str,
}

impl Page {
    /// The samples that follow are of this family.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.family = name;
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, labels: &str, value: impl Display) {
        self.suffixed("", labels, value);
    }

    fn suffixed(&mut self, suffix: &str, labels: &str, value: impl Display) {
        let name = self.family;
        let _ = match labels {
            "" => writeln!(self.text, "{name}{suffix} {value}"),
            _ => writeln!(self.text, "{name}{suffix}{{{labels}}} {value}"),
        };
    }

    fn histogram(&mut self, labels: &str, times: &Times) {
        let mut count = 0;
        for (bucket, more) in times.counts.iter().enumerate().take(BUCKETS - 1) {
            count += more;
            if bucket % BUCKET_STEP == 0 {
                let bound = seconds((1u64 << bucket) * 1000);
                self.suffixed("_bucket", &format!("{labels},le=\"{bound}\""), count);
            }
        }
        self.suffixed("_bucket", &format!("{labels},le=\"+Inf\""), times.count());
        self.suffixed("_sum", labels, seconds(times.nanoseconds));
        self.suffixed("_count", labels, times.count());
    }
}

/// Nanoseconds as seconds, exactly.
fn seconds(nanoseconds: u64) -> String {
    let text = format!("{}.{:09}", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `name="value"` with the escapes of the format.
fn label(name: &str, value: &str) -> String {
    let mut text = format!("{name}=\"");
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

/// The page.
pub fn render(server: &Server) -> String {
    let mut page = Page { text: String::new(), family: "" };
    page.family("scstu_build_info", "gauge", "Version of the target.");
    page.sample(&label("version", env!("CARGO_PKG_VERSION")), 1);
    process(&mut page, server);
    totals(&mut page, server);
    let sessions = server.sessions();
    page.family("scstu_sessions", "gauge", "Sessions in full feature phase.");
    let discovery = sessions.iter().filter(|session| session.nexus.is_none()).count();
    page.sample("type=\"normal\"", sessions.len() - discovery);
    page.sample("type=\"discovery\"", discovery);
    nexuses(&mut page, &series(&sessions));
    page.text
}

fn process(page: &mut Page, server: &Server) {
    page.family("scstu_connections", "gauge", "Connections, also those that have not logged in.");
    page.sample("", server.connections());
    let pool = server.pool().state();
    page.family("scstu_workers", "gauge", "Threads of the worker pool.");
    let busy = pool.workers.saturating_sub(pool.idle + pool.stuck);
    for (state, count) in [("idle", pool.idle), ("busy", busy), ("stuck", pool.stuck)] {
        page.sample(&label("state", state), count);
    }
    page.family("scstu_tasks_waiting", "gauge", "Commands that wait for a thread of the worker pool.");
    page.sample("", pool.queued);
    page.family("scstu_buffer_bytes", "gauge", "Memory that holds data of commands.");
    page.sample("", server.buffers().in_use());
    page.family("scstu_buffer_limit_bytes", "gauge", "Most memory for data of commands.");
    page.sample("", server.buffers().budget());
}

fn totals(page: &mut Page, server: &Server) {
    let totals = server.totals();
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    page.family("scstu_logins_total", "counter", "Logins that succeeded.");
    page.sample("", read(&totals.logins));
    page.family("scstu_login_rejects_total", "counter", "Logins refused, by login status.");
    for ((_, reason), count) in LoginStatus::REFUSALS.iter().zip(&totals.refused) {
        page.sample(&label("reason", reason), read(count));
    }
    page.sample(&label("reason", "closed_without_answer"), read(&totals.dropped));
    page.family("scstu_task_management_total", "counter", "Task management functions received.");
    for (function, count) in FUNCTIONS.iter().zip(&totals.functions) {
        page.sample(&label("function", function), read(count));
    }
    page.family(
        "scstu_task_management_rejected_total",
        "counter",
        "Task management functions rejected because a write could not be cancelled in time.",
    );
    page.sample("", read(&totals.functions_given_up));
}

/// What makes an I_T nexus (RFC 7143 4.4.3). Not the session's number: an initiator that logs in again goes
/// on with its series, and their number does not grow with the logins.
fn identity(session: &Session) -> (&str, &str, [u8; 6]) {
    (&session.target, &session.initiator, session.isid)
}

/// Labels and figures of every I_T_L nexus, oldest session first, with what is beyond the limit at the end.
fn series(sessions: &[std::sync::Arc<Session>]) -> Vec<(String, Figures)> {
    let mut series: Vec<(String, Figures)> = Vec::new();
    let mut other: Option<Figures> = None;
    // A session that is being replaced may not be gone yet.
    let live: HashMap<_, u64> = sessions.iter().map(|session| (identity(session), session.id)).collect();
    for session in sessions.iter().filter(|session| live.get(&identity(session)) == Some(&session.id)) {
        let Some(nexus) = &session.nexus else { continue };
        let isid: String = session.isid.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut itls = nexus.itls();
        itls.sort_by_key(|itl| itl.lun);
        for itl in itls {
            let figures = itl.figures();
            if series.len() >= SERIES_LIMIT {
                other.get_or_insert_default().add(&figures);
                continue;
            }
            let labels = [
                label("isid", &isid),
                label("target", &session.target),
                label("initiator", &session.initiator),
                label("lun", &itl.lun.to_string()),
                label("device", itl.device.name()),
            ];
            series.push((labels.join(","), figures));
        }
    }
    let names = ["isid", "target", "initiator", "lun", "device"];
    series.extend(other.map(|figures| (names.map(|name| label(name, "other")).join(","), figures)));
    series
}

fn nexuses(page: &mut Page, series: &[(String, Figures)]) {
    page.family("scstu_commands_total", "counter", "Commands finished, by direction of data.");
    for (labels, figures) in series {
        for (direction, count) in ["none", "read", "write"].iter().zip(figures.commands) {
            page.sample(&format!("{labels},direction=\"{direction}\""), count);
        }
    }
    page.family("scstu_bytes_total", "counter", "Bytes read and written by initiators.");
    for (labels, figures) in series {
        for (direction, bytes) in ["read", "write"].iter().zip(figures.bytes) {
            page.sample(&format!("{labels},direction=\"{direction}\""), bytes);
        }
    }
    page.family("scstu_commands_in_flight", "gauge", "Commands that are not finished.");
    for (labels, figures) in series {
        page.sample(labels, figures.in_flight);
    }
    page.family("scstu_check_conditions_total", "counter", "Commands that failed, by sense key.");
    for (labels, figures) in series {
        for (number, count) in (0..).zip(figures.sense_keys).filter(|(_, count)| *count > 0) {
            let key = SenseKey::of(number).words().to_ascii_lowercase().replace(' ', "_");
            page.sample(&format!("{labels},sense_key=\"{key}\""), count);
        }
    }
    page.family(
        "scstu_other_statuses_total",
        "counter",
        "Commands that ended with BUSY, TASK SET FULL, RESERVATION CONFLICT or the like.",
    );
    for (labels, figures) in series {
        page.sample(labels, figures.other_statuses);
    }
    page.family("scstu_queue_seconds", "histogram", "From the arrival of a command until it runs.");
    for (labels, figures) in series {
        page.histogram(labels, &figures.queue_time);
    }
    page.family("scstu_backend_seconds", "histogram", "From when a command runs until it is finished.");
    for (labels, figures) in series {
        page.histogram(labels, &figures.backend_time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_and_short() {
        for (nanoseconds, text) in
            [(0, "0"), (1000, "0.000001"), (1_000_000_000, "1"), (1_500_000_001, "1.500000001")]
        {
            assert_eq!(seconds(nanoseconds), text);
        }
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(label("a", "x\"y\\z\n"), r#"a="x\"y\\z\n""#);
    }
}
