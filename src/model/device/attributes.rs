//! The attributes of devices: SCST's table (1.4), and a few of our own.

use std::path::Path;
use std::sync::atomic::Ordering;

use crate::attr::{Access, Attr, Error, Kind, Saved, Tail, to_hex};
use crate::model::device::size::{is_size_saved, mebibytes};
use crate::model::device::{DeviceConfig, OPTIMAL_LIMIT, SOFT_THRESHOLD, handler_threads};
use crate::model::effect::Effect;
use crate::model::handler;

type Row = Attr<DeviceConfig>;

fn flag(value: bool) -> String {
    u8::from(value).to_string()
}

/// Which handlers have an attribute, in the order fileio, blockio, nullio, vcdrom, ram, registered ones and
/// those of tcmu-runner:
/// `w` written at any time, `r` given at creation or never, `x` written only, `-` absent.
fn column(columns: &str, config: &DeviceConfig) -> Option<Access> {
    match columns.as_bytes().get(place(config)) {
        Some(b'w') => Some(Access::ReadWrite),
        Some(b'r') => Some(Access::CreateOnly),
        Some(b'x') => Some(Access::WriteOnly),
        _ => None,
    }
}

/// Column of registered handlers; those before it are always there.
const REGISTERED: usize = 5;

fn place(config: &DeviceConfig) -> usize {
    match config.handler.name.as_ref() {
        "vdisk_fileio" => 0,
        "vdisk_blockio" => 1,
        "vdisk_nullio" => 2,
        "vcdrom" => 3,
        "vdisk_ram" => 4,
        _ if is_of_tcmu_runner(config) => 6,
        _ => REGISTERED,
    }
}

pub(super) fn is_of_tcmu_runner(config: &DeviceConfig) -> bool {
    config.handler.parameters.contains(&"cfgstring")
}

macro_rules! switch {
    ($name:literal $columns:literal $default:literal $help:literal, |$c:ident| $place:expr) => {
        Attr {
            name: $name,
            kind: Kind::Bool,
            here: |config, _| column($columns, config),
            default: $default,
            help: $help,
            get: |$c| flag($place),
            set: |$c, value| {
                $place = value.bool();
                Ok(())
            },
            ..Row::ROW
        }
    };
}

macro_rules! identity {
    ($name:ident $max:literal $help:literal) => {
        Attr {
            name: stringify!($name),
            kind: Kind::Text($max),
            saved: Saved::When(|c| c.is_given(stringify!($name))),
            help: $help,
            get: |c| c.settings.identity.$name.clone(),
            set: |c, value| {
                c.settings.identity.$name = value.text();
                Ok(())
            },
            ..Row::ROW
        }
    };
}

macro_rules! designator {
    ($name:ident $kind:expr, $check:expr, $help:literal) => {
        Attr {
            name: stringify!($name),
            kind: $kind,
            saved: Saved::When(|c| c.is_given(stringify!($name))),
            help: $help,
            get: |c| to_hex(&c.settings.identity.$name),
            set: |c, value| {
                let bytes = value.bytes();
                let check: fn(&[u8]) -> Result<(), Error> = $check;
                check(&bytes)?;
                c.settings.identity.$name = bytes;
                Ok(())
            },
            ..Row::ROW
        }
    };
}

/// NAA 2h, 3h and 5h have 8 bytes, NAA 6h has 16 (SPC-4, 7.8.6.6).
fn naa(bytes: &[u8]) -> Result<(), Error> {
    match (bytes.first().map(|first| first >> 4), bytes.len()) {
        (None, _) | (Some(2 | 3 | 5), 8) | (Some(6), 16) => Ok(()),
        _ => Err(Error::invalid("16 digits begin with 2, 3 or 5, and 32 digits with 6; or it is empty")),
    }
}

const SHARED_WORKERS: &str = "all devices share the workers (root attribute threads), each with its share";

/// All of them.
pub static ATTRIBUTES: &[Row] = &[
    Attr {
        name: "type",
        kind: Kind::Text(64),
        access: Access::ReadOnly,
        saved: Saved::Never,
        help: "number and name of the peripheral device type",
        get: |c| match c.unit() {
            Some(unit) => handler::type_of(unit.device_type()),
            None => handler::device_type(c.handler.medium).to_owned(),
        },
        ..Row::ROW
    },
    Attr {
        name: "filename",
        kind: Kind::Own("an absolute path, or nothing for an empty drive"),
        here: |c, _| column("ww-wrw-", c),
        default: "none",
        tail: Tail::Always,
        help: "file or block device; of a drive, the medium",
        get: |c| {
            let path = c.open.filename.as_deref().map(Path::display);
            path.map_or_else(|| "none".to_owned(), |path| path.to_string())
        },
        set: |c, value| c.change_file(&value.text()),
        ..Row::ROW
    },
    Attr {
        name: "size",
        kind: Kind::Size,
        here: |c, _| column("rwwrwww", c),
        saved: Saved::When(is_size_saved),
        help: "size in bytes; of a file, resync_size takes a new one",
        get: |c| c.size().to_string(),
        set: |c, value| c.resize_open(value.number()),
        ..Row::ROW
    },
    Attr {
        name: "size_mb",
        kind: Kind::Number { min: 1, max: u64::MAX },
        here: |c, _| column("rwwrwww", c),
        saved: Saved::Never,
        help: "size in MiB",
        get: |c| (c.size() >> 20).to_string(),
        set: |c, value| c.resize_open(mebibytes(value.number())?),
        ..Row::ROW
    },
    Attr {
        name: "resync_size",
        kind: Kind::Trigger,
        access: Access::WriteOnly,
        here: |c, _| column("xx---xx", c),
        saved: Saved::Never,
        help: "reads the size of the backing store again",
        set: |c, _| c.order(Effect::Resync),
        ..Row::ROW
    },
    Attr {
        name: "sync",
        kind: Kind::Trigger,
        access: Access::WriteOnly,
        here: |c, _| column("xx---xx", c),
        saved: Saved::Never,
        help: "makes everything durable that was written",
        set: |c, _| c.order(Effect::Flush),
        ..Row::ROW
    },
    Attr {
        name: "blocksize",
        kind: Kind::Number { min: 0, max: 4096 },
        access: Access::CreateOnly,
        here: |c, _| column("rrr-rrr", c),
        default: "512",
        help: "logical block length in bytes: 512, 1024, 2048 or 4096",
        get: |c| match c.unit().filter(|_| place(c) >= REGISTERED) {
            // Some handlers have blocks of their own choice.
            Some(unit) => unit.geometry().block_size.to_string(),
            None => c.open.blocksize.unwrap_or(512).to_string(),
        },
        set: |c, value| {
            c.open.blocksize = Some(value.number32()).filter(|size| *size != 0);
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "read_only",
        access: Access::CreateOnly,
        here: |c, _| column("rrr-rrr", c),
        default: "0",
        help: "writes are refused",
        get: |c| flag(c.open.read_only),
        set: |c, value| {
            c.open.read_only = value.bool();
            c.settings.read_only = value.bool();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        access: Access::CreateOnly,
        ..switch!("write_through" "rr---rr" "0" "every write is durable before it is answered",
            |c| c.open.write_through)
    },
    Attr {
        name: "nv_cache",
        access: Access::CreateOnly,
        here: |c, _| column("rr---rr", c),
        default: "0",
        help: "the cache survives power loss: nothing is flushed",
        get: |c| flag(c.open.nv_cache),
        set: |c, value| {
            c.open.nv_cache = value.bool();
            c.settings.nv_cache = value.bool();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        access: Access::CreateOnly,
        ..switch!("o_direct" "r------" "0" "past the page cache", |c| c.open.o_direct)
    },
    Attr {
        access: Access::CreateOnly,
        ..switch!("zero_copy" "r------" "1" "large reads leave the page cache uncopied, for a lone session",
            |c| c.open.zero_copy)
    },
    Attr {
        compatibility: Some("workers wait for the medium, and a device cannot take all of them"),
        ..switch!("async" "w------" "0" "I/O is submitted asynchronously", |c| c.is_async)
    },
    Attr {
        name: "thin_provisioned",
        access: Access::CreateOnly,
        here: |c, _| column("rr--rrr", c),
        default: "whatever the backing store can do",
        saved: Saved::When(|c| c.is_given("thin_provisioned")),
        help: "blocks can be freed",
        get: |c| flag(c.settings.thin_provisioned),
        set: |c, value| {
            c.open.thin_provisioned = Some(value.bool());
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "cfgstring",
        kind: Kind::Text(4095),
        access: Access::CreateOnly,
        here: |c, _| column("------r", c),
        help: "what is behind the subtype and its / in tcmu-runner's configuration string, such as the path \
               of an image",
        get: |c| c.open.cfgstring.clone(),
        set: |c, value| {
            c.open.cfgstring = value.text();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "options",
        kind: Kind::Text(4095),
        access: Access::CreateOnly,
        here: |c, _| column("-----r-", c),
        help: "text for the handler, which alone knows what it means",
        get: |c| c.open.options.clone(),
        set: |c, value| {
            c.open.options = value.text();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        access: Access::CreateOnly,
        ..switch!("rotational" "rrr-rrr" "1" "the medium rotates (VPD page B1h)", |c| c.settings.rotational)
    },
    Attr {
        access: Access::CreateOnly,
        ..switch!("removable" "rrr-rrr" "0" "the medium can be removed (RMB)", |c| c.settings.removable)
    },
    Attr {
        access: Access::CreateOnly,
        ..switch!("dummy" "--r----" "0" "a placeholder, as LUN 0", |c| c.settings.dummy)
    },
    Attr {
        name: "tst",
        kind: Kind::Number { min: 0, max: 1 },
        access: Access::CreateOnly,
        here: |c, _| column("rrrrrrr", c),
        default: "1",
        help: "task set: 1 one for each nexus, 0 one for all",
        get: |c| c.tst.to_string(),
        set: |c, value| {
            c.tst = u8::from(value.number() != 0);
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "active",
        here: |c, _| column("ww---ww", c),
        default: "1",
        help: "the backing store is open; without it the medium cannot be reached",
        get: |c| flag(c.active),
        set: |c, value| c.activate(value.bool()),
        ..Row::ROW
    },
    Attr {
        name: "bind_alua_state",
        here: |c, _| column("ww-----", c),
        saved: Saved::When(|c| c.bind_alua_state != (c.handler.name == "vdisk_blockio")),
        default: "1 for vdisk_blockio, else 0",
        help: "an access state in which the medium cannot be reached closes the backing store",
        get: |c| flag(c.bind_alua_state),
        set: |c, value| {
            c.bind_alua_state = value.bool();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "expl_alua",
        kind: Kind::Number { min: 0, max: u64::MAX },
        here: |c, _| column("ww--www", c),
        default: "0",
        help: "initiators may change access states (SET TARGET PORT GROUPS)",
        get: |c| flag(c.settings.expl_alua),
        set: |c, value| {
            c.settings.expl_alua = value.number() != 0;
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "cluster_mode",
        here: |c, _| column("www----", c),
        default: "0",
        help: "reservations are shared in a cluster; not available in user mode, so only 0 can be written",
        get: |_| flag(false),
        set: |_, value| match value.bool() {
            true => Err(Error::new(libc::EOPNOTSUPP, "there is no distributed lock manager in user mode")),
            false => Ok(()),
        },
        ..Row::ROW
    },
    switch!("lb_per_pb_exp" "ww--www" "1" "report the physical block length", |c| c.settings.lb_per_pb_exp),
    Attr {
        name: "opt_trans_len",
        kind: Kind::Number { min: 0, max: OPTIMAL_LIMIT as u64 },
        here: |c, _| column("www-www", c),
        default: "524288",
        saved: Saved::When(|c| c.is_given("opt_trans_len")),
        help: "optimal transfer length in bytes, a multiple of blocksize (VPD page B0h); what the backstore \
               tells until it is given",
        get: |c| c.settings.opt_trans_len.to_string(),
        set: |c, value| {
            let block = c.open.blocksize.unwrap_or(512);
            if value.number32() % block != 0 {
                let text = format!("{} is not a multiple of blocksize {block}", value.number());
                return Err(Error::invalid(text));
            }
            c.settings.opt_trans_len = value.number32();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        compatibility: Some("reads give zeros in any case"),
        ..switch!("read_zero" "--w----" "0" "reads are filled with zeros", |c| c.read_zero)
    },
    Attr {
        name: "max_tgt_dev_commands",
        kind: Kind::Number { min: 0, max: u32::MAX as u64 },
        default: "64",
        help: "commands of one initiator before TASK SET FULL; 0 for no limit",
        get: |c| c.settings.max_tgt_dev_commands.to_string(),
        set: |c, value| {
            c.settings.max_tgt_dev_commands = value.number32();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "threads_num",
        kind: Kind::Number { min: 0, max: i32::MAX as u64 },
        default: "8 for vdisk_fileio and vcdrom, else 1",
        saved: Saved::When(|c| c.threads_num != handler_threads(&c.handler)),
        compatibility: Some(SHARED_WORKERS),
        help: "threads of the device",
        get: |c| c.threads_num.to_string(),
        set: |c, value| {
            c.threads_num = value.number32();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "threads_pool_type",
        kind: Kind::Word(&["per_initiator", "shared"]),
        default: "per_initiator",
        saved: Saved::When(|c| c.threads_num != 0 && c.threads_pool_type != "per_initiator"),
        compatibility: Some(SHARED_WORKERS),
        help: "whether each initiator has threads of its own",
        get: |c| if c.threads_num == 0 { "Async".to_owned() } else { c.threads_pool_type.clone() },
        set: |c, value| {
            c.threads_pool_type = value.text();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "numa_node_id",
        kind: Kind::Signed { min: -1, max: i32::MAX as i64 },
        default: "-1",
        compatibility: Some("the operating system places memory"),
        help: "NUMA node of the buffers; -1 for none",
        get: |c| c.numa_node_id.to_string(),
        set: |c, value| {
            c.numa_node_id = value.signed();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "gen_tp_soft_threshold_reached_UA",
        kind: Kind::Trigger,
        access: Access::WriteOnly,
        here: |c, _| column("xx---xx", c).filter(|_| c.settings.thin_provisioned),
        saved: Saved::Never,
        help: "tells every initiator that space is running short (38h/07h)",
        set: |c, _| {
            c.after(|device| Effect::Attention { device, sense: SOFT_THRESHOLD });
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "soft_threshold_mb",
        kind: Kind::Number { min: 0, max: u32::MAX as u64 },
        here: |c, _| column("ww---ww", c),
        default: "0",
        help: "MiB that the backing has left when initiators are told (38h/07h), 0 for never",
        get: |c| c.settings.soft_threshold_mb.to_string(),
        set: |c, value| {
            c.settings.soft_threshold_mb = value.number32();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "reclaimed_bytes",
        kind: Kind::Number { min: 0, max: u64::MAX },
        access: Access::ReadOnly,
        here: |c, _| column("rr--rrr", c),
        saved: Saved::Never,
        help: "bytes that initiators have given back since the backing was opened (UNMAP, WRITE SAME)",
        get: |c| {
            let gate = c.unit().and_then(|unit| unit.gate());
            gate.map_or(0, |gate| gate.counts.reclaimed.load(Ordering::Relaxed)).to_string()
        },
        ..Row::ROW
    },
    Attr {
        name: "progress",
        kind: Kind::Text(4095),
        access: Access::ReadOnly,
        default: "none",
        saved: Saved::Never,
        help: "long work that goes on, and how much of it is done: format, sanitize, copy",
        get: |c| {
            let work = c.unit().map_or(Vec::new(), |unit| unit.long_work());
            let words: Vec<String> =
                work.iter().map(|work| format!("{} {}%", work.what, work.percent)).collect();
            if words.is_empty() { "none".to_owned() } else { words.join(", ") }
        },
        ..Row::ROW
    },
    Attr {
        name: "block",
        kind: Kind::Own("0, 1 or 11"),
        default: "0 0",
        saved: Saved::Never,
        help: "1 holds back commands and waits for those that have begun, 11 does not wait, 0 lets them go; \
               reads how often they are held back, and how often that is waited for",
        get: |c| format!("{} {}", c.holds.count(), c.holds.pending()),
        set: |c, value| c.block(&value.text()),
        ..Row::ROW
    },
    Attr {
        name: "pr_state",
        kind: Kind::Own("what was read from it"),
        saved: Saved::Never,
        help: "reservations and registrations; they can be replaced while no session uses the device",
        get: |c| {
            let text = c.unit().map_or(String::new(), |unit| unit.reservations_text());
            text.trim_end().to_owned()
        },
        set: |c, value| c.set_reservations(&value.text()),
        ..Row::ROW
    },
    Attr {
        name: "pr_file_name",
        kind: Kind::Own("an absolute path in a directory that is there, or nothing"),
        default: "pr.DEVICE in the state directory",
        saved: Saved::When(|c| c.pr_file_name.is_some()),
        help: "file that keeps reservations and registrations over a restart (APTPL); those in it count at \
               once, if it is there. It can be changed while no session uses the device",
        get: |c| c.reservations_place(),
        set: |c, value| c.keep_reservations_in(&value.text()),
        ..Row::ROW
    },
    Attr {
        name: "dump_prs",
        kind: Kind::Trigger,
        access: Access::WriteOnly,
        saved: Saved::Never,
        help: "writes reservations and registrations to the log",
        set: |c, _| {
            if let Some(unit) = c.unit() {
                log::info!("device {}: {}", unit.name(), unit.reservations_text().trim_end());
            }
            Ok(())
        },
        ..Row::ROW
    },
    switch!("allow_sanitize" "ww--www" "0" "SANITIZE is supported", |c| c.settings.allow_sanitize),
    Attr {
        name: "sanitize_min_ms",
        kind: Kind::Number { min: 0, max: 86_400_000 },
        here: |c, _| column("ww--www", c),
        default: "0",
        help: "shortest time of SANITIZE OVERWRITE in milliseconds",
        get: |c| c.settings.sanitize_min_ms.to_string(),
        set: |c, value| {
            c.settings.sanitize_min_ms = value.number32();
            Ok(())
        },
        ..Row::ROW
    },
    identity!(t10_vend_id 8 "T10 vendor identification"),
    identity!(prod_id 16 "product identification"),
    identity!(prod_rev_lvl 4 "product revision level"),
    identity!(vend_specific_id 128 "vendor specific identifier of the T10 designator"),
    identity!(t10_dev_id 25 "SCST's device identifier"),
    identity!(usn 20 "unit serial number"),
    Attr {
        saved: Saved::NotDefault,
        ..identity!(scsi_device_name 250 "SCSI name string of the target device")
    },
    designator!(naa_id Kind::Hex(&[8, 16]), naa, "NAA designator"),
    designator!(eui64_id Kind::Hex(&[8, 12, 16]), |_| Ok(()), "EUI-64 designator"),
    Attr {
        name: "inq_vend_specific",
        kind: Kind::Text(160),
        help: "vendor specific bytes of the standard INQUIRY data",
        get: |c| String::from_utf8_lossy(&c.settings.identity.inq_vend_specific).into_owned(),
        set: |c, value| {
            c.settings.identity.inq_vend_specific = value.text().into_bytes();
            Ok(())
        },
        ..Row::ROW
    },
];
