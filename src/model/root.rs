//! Attributes of the whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use crate::attr::{Access, Attr, Kind, Saved};
use crate::model::effect::{Effect, Pending};
use crate::model::hold::{self, Holds};
use crate::model::session::SessionObject;
use crate::model::trace;

/// SCST's version whose interface this is; scstadmin looks for the number.
pub const SCST_VERSION: &str = "3.11.0-pre";

/// Global settings.
#[derive(Clone)]
pub struct RootObject {
    /// Seed of generated identities; 0 is this installation's own.
    pub setup_id: u32,
    /// Measure how long commands take.
    pub measure_latency: bool,
    max_tasklet_cmd: u32,
    poll_us: u32,
    force_global_sgv_pool: bool,
    async_lun_replace: bool,
    cluster_name: String,
    /// Worker threads; `None` is as many as the daemon was started with.
    threads: Option<u32>,
    pub(super) default_threads: usize,
    /// Which messages are logged, as `trace_level` says everywhere.
    pub(super) trace: trace::Trace,
    /// Commands held back everywhere.
    holds: Holds,
    pub(super) pending: Pending,
    /// errno of the last command, negative, or 0.
    pub last_result: Arc<AtomicI32>,
}

impl RootObject {
    /// Settings as they are at the start.
    pub fn new(default_threads: usize) -> Self {
        RootObject {
            threads: None,
            default_threads,
            trace: trace::Trace::default(),
            holds: Holds::default(),
            pending: Pending::default(),
            setup_id: 0,
            measure_latency: false,
            max_tasklet_cmd: 10,
            poll_us: 0,
            force_global_sgv_pool: false,
            async_lun_replace: false,
            cluster_name: String::new(),
            last_result: Arc::default(),
        }
    }
}

fn flag(value: bool) -> String {
    u8::from(value).to_string()
}

type Row = Attr<RootObject>;

/// All of them.
pub static ATTRIBUTES: &[Row] = &[
    Attr {
        name: "version",
        kind: Kind::Text(4095),
        access: Access::ReadOnly,
        saved: Saved::Never,
        help: "version of the interface, and of this program",
        get: |_| format!("SCST version: {SCST_VERSION}\nscstu version: {}", env!("CARGO_PKG_VERSION")),
        ..Row::ROW
    },
    Attr {
        name: "last_sysfs_mgmt_res",
        kind: Kind::Signed { min: -4095, max: 0 },
        access: Access::ReadOnly,
        saved: Saved::Never,
        help: "result of the last command: 0, or errno with a minus sign",
        get: |root| root.last_result.load(Ordering::Relaxed).to_string(),
        ..Row::ROW
    },
    Attr {
        name: "threads",
        kind: Kind::Number { min: 1, max: 4096 },
        default: "four for each processor, 16 to 256",
        saved: Saved::When(|root| root.threads.is_some()),
        help: "worker threads, which wait for media; two are the least there are",
        get: |root| root.threads.map_or(root.default_threads.to_string(), |threads| threads.to_string()),
        set: |root, value| {
            let threads = value.number32();
            root.threads = Some(threads).filter(|threads| *threads as usize != root.default_threads);
            root.pending.push(Effect::Workers(threads as usize));
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "suspend",
        kind: Kind::Signed { min: -1, max: i32::MAX as i64 },
        default: "0",
        saved: Saved::Never,
        help: "holds back commands of all devices, waiting so many seconds for those that have begun \
               (0: 90); -1 lets them go again; reads how many times",
        get: |root| root.holds.count().to_string(),
        set: |root, value| {
            let holds = root.holds.clone();
            root.pending.push(match u64::try_from(value.signed()) {
                Err(_) => Effect::Release(holds),
                Ok(0) => Effect::Hold { holds, devices: None, limit: Some(hold::LIMIT) },
                Ok(s) => Effect::Hold { holds, devices: None, limit: Some(Duration::from_secs(s)) },
            });
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "setup_id",
        kind: Kind::Number { min: 0, max: u32::MAX as u64 },
        default: "0x0",
        help: "number from which identities of new devices are made; 0 for this installation's own",
        get: |root| format!("{:#x}", root.setup_id),
        set: |root, value| {
            root.setup_id = value.number32();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "measure_latency",
        kind: Kind::Signed { min: i32::MIN as i64, max: i32::MAX as i64 },
        default: "0",
        saved: Saved::Never,
        help: "measure how long commands take, see sessions/*/latency; any number but 0 is yes",
        get: |root| flag(root.measure_latency),
        set: |root, value| {
            root.measure_latency = value.signed() != 0;
            root.pending.push(Effect::Measure(root.measure_latency));
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "max_tasklet_cmd",
        kind: Kind::Number { min: 0, max: u32::MAX as u64 },
        default: "10",
        compatibility: Some("there are no tasklets in user mode"),
        help: "commands processed in soft interrupts at once",
        get: |root| root.max_tasklet_cmd.to_string(),
        set: |root, value| {
            root.max_tasklet_cmd = value.number32();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "poll_us",
        kind: Kind::Number { min: 0, max: u32::MAX as u64 },
        default: "0",
        compatibility: Some("targets have poll_us of their own, for the threads of their sessions"),
        help: "microseconds that a thread polls before it sleeps",
        get: |root| root.poll_us.to_string(),
        set: |root, value| {
            root.poll_us = value.number32();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "force_global_sgv_pool",
        kind: Kind::Number { min: 0, max: u32::MAX as u64 },
        default: "0",
        compatibility: Some("there is one pool of buffers"),
        help: "use one pool of buffers for all processors",
        get: |root| flag(root.force_global_sgv_pool),
        set: |root, value| {
            root.force_global_sgv_pool = value.number() != 0;
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "async_lun_replace",
        kind: Kind::Switch,
        default: "0",
        saved: Saved::Never,
        compatibility: Some("replacing a LUN never waits: commands that are out keep their device"),
        help: "replacing a LUN does not wait for commands on the old device",
        get: |root| flag(root.async_lun_replace),
        set: |root, value| {
            root.async_lun_replace = value.bool();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "cluster_name",
        kind: Kind::Text(63),
        compatibility: Some("there is no distributed lock manager in user mode"),
        help: "name of the cluster",
        get: |root| root.cluster_name.clone(),
        set: |root, value| {
            root.cluster_name = value.text();
            Ok(())
        },
        ..Row::ROW
    },
];

/// The sessions, as diagnostics of the whole.
pub type Live = Vec<Arc<SessionObject>>;

/// Diagnostics; scstadmin reads them whenever it starts.
pub static DIAGNOSTICS: &[Attr<Live>] = &[
    Attr {
        name: "trace_cmds",
        kind: Kind::Text(4095),
        access: Access::ReadOnly,
        saved: Saved::Never,
        help: "commands that exist: session, LUN, device, number",
        get: |live| {
            let lines = live.iter().flat_map(|session| session.busy_units());
            clipped(lines)
        },
        ..Attr::ROW
    },
    Attr {
        name: "trace_mcmds",
        kind: Kind::Text(4095),
        access: Access::ReadOnly,
        saved: Saved::Never,
        help: "task management functions that exist; they are answered where they arrive",
        ..Attr::ROW
    },
];

/// Lines as far as a page has room.
fn clipped(lines: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for line in lines {
        if text.len() + line.len() + 2 > 4096 {
            break;
        }
        text.extend((!text.is_empty()).then_some('\n'));
        text.push_str(&line);
    }
    text
}
