//! Rules of devices: how they are made, and their attributes.

use libc::{EBUSY, EEXIST, EINVAL, EIO, EMEDIUMTYPE, ENOENT, ENOTDIR, EOPNOTSUPP, ERANGE};

use super::Rule;

const NULL: &str = "handlers/vdisk_nullio/mgmt";
const FILE: &str = "handlers/vdisk_fileio/mgmt";
const BLOCK: &str = "handlers/vdisk_blockio/mgmt";
const RAM: &str = "handlers/vdisk_ram/mgmt";
const CDROM: &str = "handlers/vcdrom/mgmt";

pub const NEW_DEVICES: &[Rule] = &[
    (
        "1.3.2 a name of any device, or what is made of it, is there: EEXIST",
        &[
            (NULL, "add_device null", EEXIST),
            (RAM, "add_device null size=1M", EEXIST),
            // The CRC32C of these two names is the same.
            (NULL, "add_device disk1371838", 0),
            (NULL, "add_device disk2000402", EEXIST),
            (NULL, "add_device disk2000402 usn=chosen", 0),
            (NULL, "del_device disk1371838", 0),
            (NULL, "del_device disk2000402", 0),
        ],
    ),
    (
        "1.3.2 a name has at most 64 characters, and neither / nor .",
        &[
            (NULL, "add_device a.b", EINVAL),
            (NULL, "add_device a/b", EINVAL),
            (NULL, "add_device a1234567890123456789012345678901234567890123456789012345678901234", EINVAL),
            (NULL, "add_device a123456789012345678901234567890123456789012345678901234567890123", 0),
            (NULL, "del_device a123456789012345678901234567890123456789012345678901234567890123", 0),
        ],
    ),
    (
        "1.3.2 parameters are known ones, with one value each",
        &[
            (NULL, "add_device x color=red", EINVAL),
            (NULL, "add_device x filename=/x", EINVAL),
            (NULL, "add_device x size", EINVAL),
            (NULL, "add_device x size=1 2", EINVAL),
            (NULL, "add_device x size=1=2", EINVAL),
            (NULL, "add_device x size=1;size=1", EINVAL),
            (NULL, "add_device x size=big", EINVAL),
            (CDROM, "add_device x blocksize=512", EINVAL),
            (BLOCK, "add_device x filename={F}/b;async=1", EINVAL),
            (BLOCK, "add_device x filename={F}/b;o_direct=1", EINVAL),
            (NULL, "add_device x nv_cache=1", EINVAL),
        ],
    ),
    (
        "1.3.2 a file is wanted, once, by an absolute path",
        &[
            (FILE, "add_device x", EINVAL),
            (BLOCK, "add_device x", EINVAL),
            (FILE, "add_device x filename=image", EINVAL),
            (BLOCK, "add_device x filename=./image", EINVAL),
            (FILE, "add_device x filename=/a;filename=/b", EINVAL),
        ],
    ),
    (
        "1.3.2 blocks have 512 bytes at least, and the size is a multiple of them",
        &[
            (NULL, "add_device x blocksize=256", EINVAL),
            (NULL, "add_device x blocksize=1000", EINVAL),
            (NULL, "add_device x size=513", EINVAL),
            (NULL, "add_device x size=4608;blocksize=4096", EINVAL),
            (NULL, "add_device x blocksize=0", 0),
            (NULL, "del_device x", 0),
        ],
    ),
    (
        "1.3.2 numbers in their ranges",
        &[
            (NULL, "add_device x dummy=2", EINVAL),
            (NULL, "add_device x tst=2", EINVAL),
            (NULL, "add_device x numa_node_id=-2", EINVAL),
            (NULL, "add_device x rotational=2", EINVAL),
            (NULL, "add_device x removable=yes", EINVAL),
            (NULL, "add_device x read_only=-1", EINVAL),
            (FILE, "add_device x filename={F}/b;active=2", EINVAL),
            (FILE, "add_device x filename={F}/b;async=2", EINVAL),
            (FILE, "add_device x filename={F}/b;bind_alua_state=2", EINVAL),
            (FILE, "add_device x filename={F}/b;thin_provisioned=2", EINVAL),
            (FILE, "add_device x filename={F}/b;write_through=2", EINVAL),
        ],
    ),
    (
        "1.3.2 what does not go together",
        &[
            (FILE, "add_device x filename={F}/b;read_only=1;nv_cache=1", EINVAL),
            (FILE, "add_device x filename={F}/b;read_only=1;write_through=1", EINVAL),
            (FILE, "add_device x filename={F}/b;dif_mode=tgt", EINVAL),
            (FILE, "add_device x filename={F}/b;dif_mode=dev_check;dif_type=1", EINVAL),
        ],
    ),
    (
        "1.3.2 what opening says is passed on",
        &[
            (FILE, "add_device x filename=/nowhere/at/all", ENOENT),
            (BLOCK, "add_device x filename=/nowhere/at/all", ENOENT),
            (FILE, "add_device x filename={F}/b/below", ENOTDIR),
            (FILE, "add_device x filename=/nowhere/at/all;active=0", 0),
            (FILE, "del_device x", 0),
        ],
    ),
    (
        "1.3.2 del_device: the name of a device and nothing else",
        &[
            (NULL, "del_device nobody", EINVAL),
            (NULL, "del_device null now", EINVAL),
            (NULL, "del_device", EINVAL),
        ],
    ),
];

pub const DEVICES: &[Rule] = &[
    ("1.4.1 threads_num: 0 or more", &[("devices/null/threads_num", "-1", EINVAL)]),
    (
        "1.4.1 threads_pool_type: one of two words, and none of those that it reads as well",
        &[
            ("devices/null/threads_pool_type", "private", EINVAL),
            ("devices/null/threads_pool_type", "Async", EINVAL),
            ("devices/null/threads_pool_type", "Not valid", EINVAL),
        ],
    ),
    ("1.4.1 numa_node_id: -1 or more", &[("devices/null/numa_node_id", "-2", EINVAL)]),
    (
        "1.4.1 block: 0, 1 or 11, and 0 only what is blocked",
        &[
            ("devices/null/block", "2", EINVAL),
            ("devices/null/block", "", EINVAL),
            ("devices/null/block", "0", EINVAL),
        ],
    ),
    (
        "1.4.1, 5.8.3 pr_state: EBUSY while sessions use the device, EINVAL for what is malformed",
        &[
            ("devices/open/pr_state", "version 1\ngeneration 1\n", EBUSY),
            ("devices/null/pr_state", "version 2", EINVAL),
            ("devices/null/pr_state", "", EINVAL),
            ("devices/null/pr_state", "version 1\ngeneration 1\nreservation 01 00\n", EINVAL),
            (
                "devices/null/pr_state",
                "version 1\ngeneration 1\nregistrant 1 0000000000000001 0 0 \n",
                EINVAL,
            ),
            (
                "devices/null/pr_state",
                "version 1\ngeneration 1\nregistrant 1 0000000000000001 0 2 zzzz\n",
                EINVAL,
            ),
            (
                "devices/null/pr_state",
                "version 1\ngeneration 1\nregistrant 1 0000000000000001 0 513 00\n",
                EINVAL,
            ),
            ("devices/null/pr_state", "version 1\ngeneration 1\n", 0),
        ],
    ),
    (
        "1.4.1 pr_file_name: an absolute path in a directory, while no session uses the device",
        &[
            ("devices/null/pr_file_name", "pr", EINVAL),
            ("devices/null/pr_file_name", "{F}/", EINVAL),
            ("devices/null/pr_file_name", "/nowhere/at/all", ENOENT),
            ("devices/null/pr_file_name", "/dev/null", EINVAL),
            ("devices/open/pr_file_name", "{F}/pr", EBUSY),
            ("devices/null/pr_file_name", "{F}/pr", 0),
            ("devices/ram/pr_file_name", "{F}/pr", EEXIST),
            ("devices/null/pr_file_name", "", 0),
        ],
    ),
    (
        "1.4.2 filename of a disk: an absolute path, while active is 0",
        &[
            ("devices/open/filename", "{F}/b", EBUSY),
            ("devices/blk/filename", "{F}/b", EBUSY),
            ("devices/open/filename", "b", EINVAL),
            ("devices/closed/filename", "b", EINVAL),
            ("devices/closed/filename", "", EINVAL),
            ("devices/closed/filename", "{F}/b", 0),
        ],
    ),
    (
        "1.4.2 active: 0 or 1, and what opening says",
        &[
            ("devices/open/active", "2", EINVAL),
            ("devices/closed/filename", "/nowhere/at/all", 0),
            ("devices/closed/active", "1", ENOENT),
            ("devices/closed/filename", "{F}/b/below", 0),
            ("devices/closed/active", "1", ENOTDIR),
            ("devices/closed/filename", "{F}/b", 0),
        ],
    ),
    ("1.4.2 bind_alua_state: 0 or 1", &[("devices/open/bind_alua_state", "2", EINVAL)]),
    (
        "1.4.2 size, size_mb: a positive multiple of blocksize",
        &[
            ("devices/null/size", "4097", EINVAL),
            ("devices/null/size", "0", EINVAL),
            ("devices/null/size", "99999999999999999999", ERANGE),
            ("devices/null/size_mb", "0", EINVAL),
            ("devices/null/size_mb", "99999999999999999", ERANGE),
            ("devices/blk/size", "513", EINVAL),
            ("devices/open/size", "512", EIO),
        ],
    ),
    (
        "1.4.2 resync_size, sync, size: EMEDIUMTYPE while the device is not open",
        &[
            ("devices/closed/resync_size", "1", EMEDIUMTYPE),
            ("devices/closed/sync", "1", EMEDIUMTYPE),
            ("devices/blk/active", "0", 0),
            ("devices/blk/size", "512", EMEDIUMTYPE),
            ("devices/blk/size_mb", "1", EMEDIUMTYPE),
            ("devices/blk/resync_size", "1", EMEDIUMTYPE),
            ("devices/blk/active", "1", 0),
            ("devices/open/resync_size", "1", 0),
            ("devices/open/sync", "1", 0),
        ],
    ),
    ("1.4.2 opt_trans_len: a multiple of blocksize", &[("devices/null/opt_trans_len", "4097", EINVAL)]),
    (
        "1.4.2 switches: 0 or 1",
        &[
            ("devices/open/async", "2", EINVAL),
            ("devices/open/lb_per_pb_exp", "2", EINVAL),
            ("devices/null/read_zero", "2", EINVAL),
            ("devices/null/cluster_mode", "2", EINVAL),
            ("devices/open/allow_sanitize", "2", EINVAL),
        ],
    ),
    ("1.4.2 expl_alua: a number", &[("devices/open/expl_alua", "on", EINVAL)]),
    (
        "1.4.2 cluster_mode: EOPNOTSUPP without a lock manager",
        &[("devices/null/cluster_mode", "1", EOPNOTSUPP)],
    ),
    (
        "1.4.2 soft_threshold_mb, sanitize_min_ms: numbers",
        &[("devices/open/soft_threshold_mb", "-1", EINVAL), ("devices/open/sanitize_min_ms", "day", EINVAL)],
    ),
    (
        "1.4.2 texts have a longest length",
        &[
            ("devices/null/t10_vend_id", "ninechars", EINVAL),
            ("devices/null/prod_id", "12345678901234567", EINVAL),
            ("devices/null/prod_rev_lvl", "12345", EINVAL),
            ("devices/null/t10_dev_id", "12345678901234567890123456", EINVAL),
            ("devices/null/usn", "123456789012345678901", EINVAL),
            ("devices/null/vend_specific_id", "{128}x", EINVAL),
            ("devices/null/vend_specific_id", "{128}", 0),
            ("devices/null/scsi_device_name", "{250}x", EINVAL),
            ("devices/null/scsi_device_name", "{256}x", EINVAL),
            ("devices/null/scsi_device_name", "{250}", 0),
            ("devices/null/scsi_device_name", "", 0),
            ("devices/null/inq_vend_specific", "{160}x", EINVAL),
            ("devices/null/inq_vend_specific", "{160}", 0),
            ("devices/null/inq_vend_specific", "", 0),
        ],
    ),
    (
        "1.4.2 naa_id: 16 digits that begin with 2, 3 or 5, or 32 that begin with 6; or nothing",
        &[
            ("devices/null/naa_id", "0x1000000000000000", EINVAL),
            ("devices/null/naa_id", "0x60000000000000001", EINVAL),
            ("devices/null/naa_id", "0x6000000000000000", EINVAL),
            ("devices/null/naa_id", "0x50000000000000001", EINVAL),
            ("devices/null/naa_id", "0x500000000000000g", EINVAL),
            ("devices/null/naa_id", "0x5000000000000001", 0),
            ("devices/null/naa_id", "60000000000000000000000000000001", 0),
            ("devices/null/naa_id", "", 0),
        ],
    ),
    (
        "1.4.2 eui64_id: 8, 12 or 16 bytes, or nothing",
        &[
            ("devices/null/eui64_id", "0x00", EINVAL),
            ("devices/null/eui64_id", "0x0123456789abcdef01", EINVAL),
            ("devices/null/eui64_id", "0123456789abcdef01234567", 0),
            ("devices/null/eui64_id", "", 0),
        ],
    ),
    (
        "1.4.2 gen_tp_soft_threshold_reached_UA: on thin devices only",
        &[("devices/null/gen_tp_soft_threshold_reached_UA", "1", ENOENT)],
    ),
    (
        "1.4.4 filename of a drive: an absolute path, what opening says, EBUSY while removal is prevented",
        &[
            ("devices/cd/filename", "image", EINVAL),
            ("devices/cd/filename", "/nowhere/at/all", ENOENT),
            ("devices/cd/filename", "", 0),
            ("devices/disc/filename", "{F}/b", EBUSY),
            ("devices/disc/filename", "", EBUSY),
        ],
    ),
];
