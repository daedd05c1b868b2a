//! Attributes of the whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::attr::{Access, Attr, Kind, Saved};

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
    /// errno of the last command, negative, or 0.
    pub last_result: Arc<AtomicI32>,
}

impl RootObject {
    /// Settings as they are at the start.
    pub fn new() -> Self {
        RootObject {
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

impl Default for RootObject {
    fn default() -> Self {
        Self::new()
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
        compatibility: Some("threads sleep while there is nothing to do"),
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
