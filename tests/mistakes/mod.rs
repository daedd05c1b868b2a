//! SCST's errno table: each rule of the reference for the tree, and writes that show it.
//!
//! In paths and texts `@` is the directory and `{T}` the name of the target without sessions, `%` and `{U}`
//! those of the one with a session, `{F}` a folder. Left out on purpose, for there is nothing here that the
//! rule is about: EPERM of devices without threads and of cluster mode (which is EOPNOTSUPP), `o_direct`
//! without `async`, ENOENT without a directory for reservations (the daemon makes its own).

mod devices;

use devices::{DEVICES, NEW_DEVICES};
use libc::{EBADSLT, EBUSY, EEXIST, EINVAL, EISDIR, ELOOP, ENOENT, ERANGE};

/// A write, and how it ends: 0, or an errno.
pub type Case = (&'static str, &'static str, i32);
/// A rule with its section, and its cases.
pub type Rule = (&'static str, &'static [Case]);

const NULL: &str = "handlers/vdisk_nullio/mgmt";
const ISCSI: &str = "targets/iscsi/mgmt";
const HOSTS: &str = "@/ini_groups/hosts/initiators/mgmt";
const LUNS: &str = "@/luns/mgmt";

pub const FILES: &[Rule] = &[
    (
        "1.0.1 what is no file cannot be written",
        &[
            ("nothing", "1", ENOENT),
            ("devices/null/nothing", "1", ENOENT),
            ("devices/nobody/prod_id", "1", ENOENT),
            ("devices", "1", EISDIR),
            ("devices/null/handler", "1", ELOOP),
            ("version/x", "1", ENOENT),
        ],
    ),
    (
        "1.0.3 a command is a word that the file knows, and an object",
        &[
            (NULL, "", EINVAL),
            (NULL, " \n", EINVAL),
            (NULL, "make_device x", EINVAL),
            (NULL, "add_device", EINVAL),
            (NULL, "ADD_DEVICE odd SIZE_MB=1\n", 0),
            (NULL, "Del_Device = odd", 0),
            (NULL, "add_device a\0b", EINVAL),
            (ISCSI, "make_target x", EINVAL),
            (LUNS, "take 0", EINVAL),
            ("@/ini_groups/mgmt", "make g", EINVAL),
            (HOSTS, "create x", EINVAL),
            ("device_groups/mgmt", "make x", EINVAL),
            ("device_groups/dg/devices/mgmt", "make x", EINVAL),
            ("device_groups/dg/target_groups/mgmt", "make x", EINVAL),
            ("device_groups/dg/target_groups/here/mgmt", "make x", EINVAL),
        ],
    ),
    (
        "1.0.3 numbers are decimal, hexadecimal or octal; what no field holds is ERANGE",
        &[
            ("devices/null/max_tgt_dev_commands", "0x10\n", 0),
            ("devices/null/max_tgt_dev_commands", "0100", 0),
            ("devices/null/max_tgt_dev_commands", "ten", EINVAL),
            ("devices/null/max_tgt_dev_commands", "09", EINVAL),
            ("devices/null/max_tgt_dev_commands", "1 2", EINVAL),
            ("devices/null/max_tgt_dev_commands", "-1", EINVAL),
            ("devices/null/max_tgt_dev_commands", "", EINVAL),
            ("devices/null/max_tgt_dev_commands", "99999999999999999999", ERANGE),
        ],
    ),
];

pub const ROOT: &[Rule] = &[
    ("1.1 threads: a positive number", &[("threads", "0", EINVAL), ("threads", "many", EINVAL)]),
    ("1.1 setup_id: an unsigned number", &[("setup_id", "-1", EINVAL), ("setup_id", "0x100000000", EINVAL)]),
    ("1.1 max_tasklet_cmd: an unsigned number", &[("max_tasklet_cmd", "-1", EINVAL)]),
    ("1.1 poll_us: an unsigned number", &[("poll_us", "soon", EINVAL)]),
    ("1.1 suspend: a number; below 0 it undoes one", &[("suspend", "-1", EINVAL), ("suspend", "x", EINVAL)]),
    ("1.1 measure_latency: any number", &[("measure_latency", "yes", EINVAL), ("measure_latency", "-7", 0)]),
    (
        "1.1 async_lun_replace: a truth value",
        &[
            ("async_lun_replace", "maybe", EINVAL),
            ("async_lun_replace", "2", EINVAL),
            ("async_lun_replace", "on", 0),
            ("async_lun_replace", "n", 0),
        ],
    ),
    ("1.1 force_global_sgv_pool: a number", &[("force_global_sgv_pool", "on", EINVAL)]),
    (
        "1.1 cluster_name: at most 63 characters; empty clears it",
        &[
            ("cluster_name", "1234567890123456789012345678901234567890123456789012345678901234", EINVAL),
            ("cluster_name", "123456789012345678901234567890123456789012345678901234567890123", 0),
            ("cluster_name", "", 0),
        ],
    ),
    (
        "1.1.2 trace_level: known words and tokens",
        &[
            ("trace_level", "add nothing", EINVAL),
            ("trace_level", "loud", EINVAL),
            ("trace_level", "value many", EINVAL),
            ("targets/iscsi/trace_level", "del nothing", EINVAL),
            ("handlers/vcdrom/trace_level", "", EINVAL),
        ],
    ),
];

pub const DRIVER: &[Rule] = &[
    (
        "1.5.1 enabled: 0 or 1",
        &[("targets/iscsi/enabled", "2", EINVAL), ("targets/iscsi/enabled", "", EINVAL)],
    ),
    ("1.5.1 suspend_logins: 0 or 1", &[("targets/iscsi/suspend_logins", "2", EINVAL)]),
    (
        "1.5.1 iSNSServer: a host, and AccessControl or AccessControl No",
        &[
            ("targets/iscsi/iSNSServer", "host Control", EINVAL),
            ("targets/iscsi/iSNSServer", "host AccessControl Yes", EINVAL),
            ("targets/iscsi/iSNSServer", "host AccessControl No more", EINVAL),
            ("targets/iscsi/iSNSServer", "", 0),
        ],
    ),
    ("1.5.1 isns_entity_name fits its field", &[("targets/iscsi/isns_entity_name", "{223}x", EINVAL)]),
    ("1.5.1 link_local: 0 or 1", &[("targets/iscsi/link_local", "no", EINVAL)]),
    (
        "1.5.1 internal_portal: addresses",
        &[
            ("targets/iscsi/internal_portal", "10.0.0.1 here", EINVAL),
            ("targets/iscsi/internal_portal", "10.0.0.1:3260", EINVAL),
            ("targets/iscsi/internal_portal", "10.0.0.1 fe80::1", 0),
            ("targets/iscsi/internal_portal", "", 0),
        ],
    ),
    (
        "1.5.2 add_target: a name that is new in any case, and known parameters",
        &[
            (ISCSI, "add_target", EINVAL),
            (ISCSI, "add_target IQN.2026-01.ORG.scstu:T", EEXIST),
            (ISCSI, "add_target t Color=red", EINVAL),
            (ISCSI, "add_target t MaxBurstLength=1", EINVAL),
            (ISCSI, "add_target t IncomingUser=joe short", EINVAL),
            (ISCSI, "add_target t{255}", EINVAL),
        ],
    ),
    (
        "1.5.2 del_target: ENOENT, EBUSY with sessions, EINVAL without a name or with more",
        &[
            (ISCSI, "del_target", EINVAL),
            (ISCSI, "del_target nobody", ENOENT),
            (ISCSI, "del_target nobody now", EINVAL),
            (ISCSI, "del_target {U}", EBUSY),
        ],
    ),
    (
        "1.5.2, 4.4 add_attribute, del_attribute",
        &[
            (ISCSI, "add_attribute Color red", EINVAL),
            (ISCSI, "add_attribute", EINVAL),
            (ISCSI, "add_attribute allowed_portal *", EINVAL),
            (ISCSI, "add_attribute IncomingUser", EINVAL),
            (ISCSI, "add_attribute IncomingUser joe", EINVAL),
            (ISCSI, "add_attribute IncomingUser joe elevenchars", EINVAL),
            (ISCSI, "add_attribute IncomingUser jane twelvesecrets", EINVAL),
            (ISCSI, "add_attribute IncomingUser3 joe twelvechars.", 0),
            (ISCSI, "del_attribute IncomingUser nobody", ENOENT),
            (ISCSI, "del_attribute IncomingUser joe whatever", 0),
            (ISCSI, "del_attribute OutgoingUser nobody", ENOENT),
            ("targets/iscsi/IncomingUser", "joe short", EINVAL),
            ("targets/iscsi/IncomingUser7", "joe twelvesecrets", ENOENT),
        ],
    ),
    (
        "1.5.2 add_target_attribute, del_target_attribute: ENOENT without the target or the user",
        &[
            (ISCSI, "add_target_attribute nobody IncomingUser joe twelvesecrets", ENOENT),
            (ISCSI, "add_target_attribute {T} IncomingUser joe short", EINVAL),
            (ISCSI, "add_target_attribute {T} Color red", EINVAL),
            (ISCSI, "add_target_attribute {T}", EINVAL),
            (ISCSI, "add_target_attribute {T} allowed_portal", EINVAL),
            (ISCSI, "add_target_attribute {T} allowed_portal 10.*", EEXIST),
            (ISCSI, "del_target_attribute nobody IncomingUser joe", ENOENT),
            (ISCSI, "del_target_attribute {T} IncomingUser nobody", ENOENT),
            (ISCSI, "del_target_attribute {T} allowed_portal 11.*", EINVAL),
            ("@/IncomingUser", "joe short", EINVAL),
            ("@/allowed_portal", "", EINVAL),
        ],
    ),
];

pub const TARGETS: &[Rule] = &[
    ("1.6.1 enabled: 0 or 1", &[("@/enabled", "2", EINVAL), ("@/enabled", "", EINVAL)]),
    (
        "1.6.1 rel_tgt_id: 1 to 65535, 0 while disabled, EBADSLT for that of another enabled target",
        &[
            ("@/rel_tgt_id", "65536", EINVAL),
            ("@/rel_tgt_id", "-1", EINVAL),
            ("@/rel_tgt_id", "0", EINVAL),
            ("%/rel_tgt_id", "77", 0),
            ("@/rel_tgt_id", "77", EBADSLT),
            ("@/enabled", "0", 0),
            ("@/rel_tgt_id", "77", 0),
            ("@/enabled", "1", EBADSLT),
            ("@/rel_tgt_id", "0", 0),
            ("@/enabled", "1", 0),
        ],
    ),
    (
        "1.6.1 cpu_mask: hexadecimal",
        &[("@/cpu_mask", "none", EINVAL), ("@/ini_groups/hosts/cpu_mask", "x", EINVAL)],
    ),
    (
        "1.6.1 addr_method: one of three words in any case",
        &[
            ("@/addr_method", "ROUND", EINVAL),
            ("@/addr_method", "", EINVAL),
            ("@/addr_method", "flat", 0),
            ("@/ini_groups/hosts/addr_method", "flats", EINVAL),
        ],
    ),
    (
        "1.6.1 io_grouping_type: three words or a positive number",
        &[
            ("@/io_grouping_type", "0", EINVAL),
            ("@/io_grouping_type", "-1", EINVAL),
            ("@/io_grouping_type", "some", EINVAL),
            ("@/io_grouping_type", "7", 0),
            ("@/io_grouping_type", "this_group_only", 0),
            ("@/ini_groups/hosts/io_grouping_type", "0", EINVAL),
        ],
    ),
    (
        "1.6.1 black_hole: 0 to 4",
        &[
            ("@/black_hole", "5", EINVAL),
            ("@/black_hole", "-1", EINVAL),
            ("@/ini_groups/hosts/black_hole", "x", EINVAL),
        ],
    ),
    (
        "1.6.1 forward_src, forward_dst, forwarding, aen_disabled: 0 or 1",
        &[
            ("@/forward_src", "2", EINVAL),
            ("@/forward_dst", "2", EINVAL),
            ("@/forwarding", "2", EINVAL),
            ("@/aen_disabled", "x", EINVAL),
        ],
    ),
    (
        "1.6.1 comment: one line",
        &[("@/comment", "a\nb", EINVAL), ("@/comment", "a", 0), ("@/comment", "", 0)],
    ),
    ("1.6.2 alias fits a key", &[("@/alias", "{255}x", EINVAL)]),
    ("1.6.2 per_portal_acl: 0 or 1", &[("@/per_portal_acl", "2", EINVAL)]),
    (
        "1.6.2 redirect: an address, a port from 1 to 65535 and a word; too long is ERANGE",
        &[
            ("@/redirect", "10.0.0.9:3261", EINVAL),
            ("@/redirect", "10.0.0.9:3261 soon", EINVAL),
            ("@/redirect", "10.0.0.9:3261 temp now", EINVAL),
            ("@/redirect", "temp", EINVAL),
            ("@/redirect", "10.0.0.999 temp", EINVAL),
            ("@/redirect", "fe80::1 temp", EINVAL),
            ("@/redirect", "10.0.0.9:0 temp", EINVAL),
            ("@/redirect", "10.0.0.9:-1 perm", EINVAL),
            ("@/redirect", "10.0.0.9:65536 perm", EINVAL),
            ("@/redirect", "10.0.0.9: perm", EINVAL),
            ("@/redirect", "{250} perm", ERANGE),
            ("@/redirect", "[fe80::1]:65535 perm", 0),
            ("@/redirect", "", 0),
        ],
    ),
    (
        "1.6.2, 4.1 keys: one word in its range",
        &[
            ("@/InitialR2T", "yes", EINVAL),
            ("@/ImmediateData", "1", EINVAL),
            ("@/MaxRecvDataSegmentLength", "511", EINVAL),
            ("@/MaxXmitDataSegmentLength", "16777216", EINVAL),
            ("@/MaxBurstLength", "511", EINVAL),
            ("@/MaxBurstLength", "65536 1", EINVAL),
            ("@/MaxBurstLength", "64k", EINVAL),
            ("@/MaxBurstLength", ":default:", 0),
            ("@/FirstBurstLength", "16777216", EINVAL),
            ("@/MaxOutstandingR2T", "0", EINVAL),
            ("@/MaxOutstandingR2T", "65536", EINVAL),
            ("@/HeaderDigest", "MD5", EINVAL),
            ("@/HeaderDigest", "crc32c,none", 0),
            ("@/DataDigest", "CRC32C,MD5", EINVAL),
            ("@/RDMAExtensions", "maybe", EINVAL),
            ("@/QueuedCommands", "0", EINVAL),
            ("@/QueuedCommands", "2049", EINVAL),
            ("@/RspTimeout", "1", EINVAL),
            ("@/RspTimeout", "65536", EINVAL),
            ("@/NopInInterval", "text", EINVAL),
            ("@/NopInInterval", "65536", EINVAL),
            ("@/NopInTimeout", "1", EINVAL),
            ("@/MaxSessions", "65536", EINVAL),
            ("@/MaxSessions", "few", EINVAL),
            ("@/nagle", "sometimes", EINVAL),
            ("@/poll_us", "1001", EINVAL),
            ("@/poll_us", "sometimes", EINVAL),
        ],
    ),
];

pub const MAPS: &[Rule] = &[
    (
        "1.7 add: a device, a LUN from 0 to 16383 that is free, read_only",
        &[
            (LUNS, "add nobody 3", EINVAL),
            (LUNS, "add null many", EINVAL),
            (LUNS, "add null -1", EINVAL),
            (LUNS, "add null 16384", EINVAL),
            (LUNS, "add null", EINVAL),
            (LUNS, "add", EINVAL),
            (LUNS, "add null 3 color=red", EINVAL),
            (LUNS, "add null 3 read_only=2", EINVAL),
            (LUNS, "add null 0", EEXIST),
            (LUNS, "add null 16383", 0),
            (LUNS, "del 0x3fff", 0),
        ],
    ),
    (
        "1.7 replace: as add, and never EEXIST",
        &[
            (LUNS, "replace nobody 0", EINVAL),
            (LUNS, "replace null 16384", EINVAL),
            (LUNS, "replace null 0 color=red", EINVAL),
            (LUNS, "replace_no_ua nobody 0", EINVAL),
            (LUNS, "replace null 0", 0),
            (LUNS, "replace null 9", 0),
            (LUNS, "replace_no_ua ram 9", 0),
            (LUNS, "del 9", 0),
        ],
    ),
    (
        "1.7 del, clear: a LUN that is there, and nothing else",
        &[
            (LUNS, "del 3", EINVAL),
            (LUNS, "del zero", EINVAL),
            (LUNS, "del", EINVAL),
            (LUNS, "del 0 now", EINVAL),
            (LUNS, "clear all", EINVAL),
            ("@/ini_groups/hosts/luns/mgmt", "del 7", EINVAL),
        ],
    ),
    (
        "1.8.1 groups: create EEXIST, del EINVAL, or EBUSY with sessions; more words do not count",
        &[
            ("@/ini_groups/mgmt", "create hosts", EEXIST),
            ("@/ini_groups/mgmt", "create", EINVAL),
            ("@/ini_groups/mgmt", "del nobody", EINVAL),
            ("@/ini_groups/mgmt", "del", EINVAL),
            ("%/ini_groups/mgmt", "del members", EBUSY),
            ("@/ini_groups/mgmt", "create more and more", 0),
            ("@/ini_groups/mgmt", "del more and more", 0),
            ("@/ini_groups/hosts/per_sess_dedicated_tgt_threads", "2", EINVAL),
        ],
    ),
    (
        "1.8.1 initiators: add EEXIST, del and move EINVAL or EEXIST; more words do not count",
        &[
            (HOSTS, "add iqn.2026-01.org.*", EEXIST),
            (HOSTS, "add", EINVAL),
            (HOSTS, "del nobody", EINVAL),
            (HOSTS, "move nobody hosts", EINVAL),
            (HOSTS, "move iqn.2026-01.org.* nobody", EINVAL),
            (HOSTS, "move iqn.2026-01.org.*", EINVAL),
            (HOSTS, "move iqn.2026-01.org.* hosts", EEXIST),
            (HOSTS, "clear all", EINVAL),
            (HOSTS, "add iqn.more and more", 0),
            (HOSTS, "del iqn.more and more", 0),
        ],
    ),
    (
        "1.11 the copy manager: neither read-only LUNs nor groups",
        &[
            ("targets/copy_manager/copy_manager_tgt/luns/mgmt", "add ram 9 read_only=1", EINVAL),
            ("targets/copy_manager/copy_manager_tgt/luns/mgmt", "del 99", EINVAL),
            ("targets/copy_manager/copy_manager_tgt/ini_groups/mgmt", "create g", EINVAL),
            ("targets/copy_manager/allow_not_connected_copy", "2", EINVAL),
        ],
    ),
];

pub const DEVICE_GROUPS: &[Rule] = &[
    (
        "1.10 device groups: create or add EEXIST, del EINVAL",
        &[
            ("device_groups/mgmt", "create dg", EEXIST),
            ("device_groups/mgmt", "add dg", EEXIST),
            ("device_groups/mgmt", "add", EINVAL),
            ("device_groups/mgmt", "del nobody", EINVAL),
            ("device_groups/mgmt", "del", EINVAL),
            ("device_groups/mgmt", "create other and more", 0),
        ],
    ),
    (
        "1.10 devices: EEXIST in any group, EINVAL unknown",
        &[
            ("device_groups/dg/devices/mgmt", "add null", EEXIST),
            ("device_groups/other/devices/mgmt", "add null", EEXIST),
            ("device_groups/dg/devices/mgmt", "add nobody", EINVAL),
            ("device_groups/dg/devices/mgmt", "add", EINVAL),
            ("device_groups/dg/devices/mgmt", "del ram", EINVAL),
            ("device_groups/other/devices/mgmt", "del null", EINVAL),
            ("device_groups/mgmt", "del other", 0),
        ],
    ),
    (
        "1.10 target groups: create or add EEXIST, del EINVAL",
        &[
            ("device_groups/dg/target_groups/mgmt", "create here", EEXIST),
            ("device_groups/dg/target_groups/mgmt", "add here", EEXIST),
            ("device_groups/dg/target_groups/mgmt", "create", EINVAL),
            ("device_groups/dg/target_groups/mgmt", "del nobody", EINVAL),
            ("device_groups/dg/target_groups/mgmt", "create there", 0),
        ],
    ),
    (
        "1.10 targets: EEXIST in any target group of the device group, EINVAL unknown",
        &[
            ("device_groups/dg/target_groups/here/mgmt", "add iqn.peer", EEXIST),
            ("device_groups/dg/target_groups/there/mgmt", "add iqn.peer", EEXIST),
            ("device_groups/dg/target_groups/there/mgmt", "add {T}", EEXIST),
            ("device_groups/dg/target_groups/there/mgmt", "add", EINVAL),
            ("device_groups/dg/target_groups/here/mgmt", "del nobody", EINVAL),
            ("device_groups/dg/target_groups/mgmt", "del there", 0),
        ],
    ),
    (
        "1.10 group_id: 1 to 65535",
        &[
            ("device_groups/dg/target_groups/here/group_id", "0", EINVAL),
            ("device_groups/dg/target_groups/here/group_id", "65536", EINVAL),
            ("device_groups/dg/target_groups/here/group_id", "65535", 0),
        ],
    ),
    ("1.10 preferred: 0 or 1", &[("device_groups/dg/target_groups/here/preferred", "2", EINVAL)]),
    (
        "1.10 state: one of six words, as they are spelled",
        &[
            ("device_groups/dg/target_groups/here/state", "Active", EINVAL),
            ("device_groups/dg/target_groups/here/state", "", EINVAL),
        ],
    ),
    (
        "1.10 rel_tgt_id of another node's target: 1 to 65535",
        &[
            ("device_groups/dg/target_groups/here/iqn.peer/rel_tgt_id", "0", EINVAL),
            ("device_groups/dg/target_groups/here/iqn.peer/rel_tgt_id", "65536", EINVAL),
        ],
    ),
];

/// Every rule.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    let parts = [FILES, ROOT, NEW_DEVICES, DEVICES, DRIVER, TARGETS, MAPS, DEVICE_GROUPS];
    parts.into_iter().flatten()
}
