//! Whatever was written to the tree: what is saved loads to the same, and is saved the same.

#![allow(clippy::unwrap_used)] // A test panics to fail.

use std::sync::Arc;

use scstu::mgmt::conf::{Mode, apply_text, plan_text, save};
use scstu::mgmt::tree::Tree;
use scstu::model::Model;
use scstu::server::pool::Pool;

/// xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 8).unwrap() % limit
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    /// Any printable bytes.
    fn text(&mut self, longest: usize) -> String {
        let length = self.below(longest + 1);
        (0..length).map(|_| char::from(0x20 + u8::try_from(self.below(0x5f)).unwrap())).collect()
    }

    fn device(&mut self) -> &'static str {
        self.of(&["d0", "d1", "d2", "d3"])
    }

    fn target(&mut self) -> &'static str {
        self.of(&["iqn.x:a", "iqn.x:B", "iqn.x:c"])
    }

    fn group(&mut self) -> &'static str {
        self.of(&["g", "f", "h#{}"])
    }

    /// The directory of a target or of one of its groups.
    fn map(&mut self) -> String {
        let target = format!("targets/iscsi/{}", self.target());
        if self.below(2) == 0 { target } else { format!("{target}/ini_groups/{}", self.group()) }
    }

    /// A write that may be right or wrong.
    fn write(&mut self) -> (String, String) {
        let flag = self.of(&["0", "1", "2"]).to_owned();
        match self.below(30) {
            20..=25 => self.write_to_groups(),
            26..=28 => self.write_to_attributes(),
            0 | 1 => {
                let size = self.of(&["size_mb=1", "size=4096;blocksize=4096", "read_only=1", "size=1"]);
                (format!("handlers/{}/mgmt", self.of(&["vdisk_nullio", "vdisk_ram"])), {
                    let size = if self.below(4) == 0 { size.to_owned() } else { format!("size_mb=1;{size}") };
                    format!("add_device {} {size};", self.device())
                })
            }
            2 if self.below(4) == 0 => {
                let handler = self.of(&["vdisk_nullio", "vdisk_ram"]);
                (format!("handlers/{handler}/mgmt"), format!("del_device {}", self.device()))
            }
            2 | 3 => ("targets/iscsi/mgmt".into(), format!("add_target {}", self.target())),
            4 if self.below(4) == 0 => ("targets/iscsi/mgmt".into(), format!("del_target {}", self.target())),
            4 => {
                let (target, user) = (self.target(), self.of(&["joe", "ann", "a#b"]));
                let password = format!("twelve{}letters", self.text(12));
                let name = self.of(&["IncomingUser", "OutgoingUser"]);
                (
                    "targets/iscsi/mgmt".into(),
                    format!("add_target_attribute {target} {name} {user} {password}"),
                )
            }
            5 => {
                let portal = self.of(&["10.*", "!10.0.0.1", "::1"]);
                let text = format!("add_target_attribute {} allowed_portal {portal}", self.target());
                ("targets/iscsi/mgmt".into(), text)
            }
            6 => {
                let group = self.group();
                let verb = self.of(&["create", "create", "create", "del"]);
                (format!("targets/iscsi/{}/ini_groups/mgmt", self.target()), format!("{verb} {group}"))
            }
            7 => {
                let path =
                    format!("targets/iscsi/{}/ini_groups/{}/initiators/mgmt", self.target(), self.group());
                let verb = self.of(&["add", "add", "add", "del"]);
                (path, format!("{verb} {}", self.of(&["iqn.h1", "iqn.*", "!iqn.b", "#{}\"x"])))
            }
            8..=11 => {
                let text = match self.below(8) {
                    0 => format!("del {}", self.below(4)),
                    1 => format!("replace {} {}", self.device(), self.below(4)),
                    n => format!("add {} {} read_only={}", self.device(), self.below(4), n % 2),
                };
                (format!("{}/luns/mgmt", self.map()), text)
            }
            12 => (format!("{}/addr_method", self.map()), self.of(&["FLAT", "LUN", "PERIPHERAL"]).into()),
            13 => (format!("targets/iscsi/{}/comment", self.target()), self.text(40)),
            14 => (format!("targets/iscsi/{}/alias", self.target()), self.text(40)),
            15 => {
                let name = self.of(&["RspTimeout", "MaxBurstLength", "MaxSessions", "NopInInterval"]);
                (format!("targets/iscsi/{}/{name}", self.target()), self.of(&["600", "0", "65535"]).into())
            }
            16 => (format!("targets/iscsi/{}/enabled", self.target()), flag),
            17 => {
                let name =
                    self.of(&["prod_id", "usn", "t10_dev_id", "inq_vend_specific", "scsi_device_name"]);
                (format!("devices/{}/{name}", self.device()), self.text(16))
            }
            18 => (self.of(&["targets/iscsi/enabled", "targets/iscsi/link_local"]).into(), flag),
            _ => {
                let name = self.of(&["HeaderDigest", "redirect"]);
                let value = self.of(&["CRC32C,None", "CRC32C", "10.0.0.9:3260 perm", "[fe80::1]:1 temp", ""]);
                (format!("targets/iscsi/{}/{name}", self.target()), value.into())
            }
        }
    }
}

impl Random {
    fn write_to_groups(&mut self) -> (String, String) {
        let at = format!("device_groups/{}", self.of(&["dg", "d{#"]));
        let own = format!("{at}/target_groups/{}", self.of(&["t", "s"]));
        let member = self.of(&["iqn.x:a", "iqn.x:B", "iqn.peer:a", "iqn.peer:b"]);
        let adds = self.of(&["add", "add", "add", "del"]);
        match self.below(9) {
            0 => ("device_groups/mgmt".into(), format!("{adds} {}", &at[14..])),
            1 => (format!("{at}/devices/mgmt"), format!("{adds} {}", self.device())),
            2 => (format!("{at}/target_groups/mgmt"), format!("{adds} {}", self.of(&["t", "s"]))),
            3 | 4 => (format!("{own}/mgmt"), format!("{adds} {member}")),
            5 => (format!("{own}/group_id"), self.of(&["0", "1", "2", "65535"]).into()),
            6 => (format!("{own}/preferred"), self.of(&["0", "1"]).into()),
            7 => (format!("{own}/state"), self.of(&["active", "standby", "offline", "transitioning"]).into()),
            _ => (format!("{own}/{member}/rel_tgt_id"), self.of(&["1", "2", "9", "10"]).into()),
        }
    }

    /// Attributes of every kind of object, right or wrong.
    fn write_to_attributes(&mut self) -> (String, String) {
        let target = format!("targets/iscsi/{}", self.target());
        let device = format!("devices/{}", self.device());
        let number = self.of(&["0", "1", "7", "0x10", "4096", "70000"]).to_owned();
        let (path, value) = match self.below(18) {
            0 => ("setup_id".to_owned(), number),
            1 => ("threads".to_owned(), number),
            2 => ("poll_us".to_owned(), number),
            3 => ("cluster_name".to_owned(), self.text(70)),
            4 => ("targets/iscsi/internal_portal".to_owned(), self.of(&["", "::1 10.0.0.1", "x"]).into()),
            5 => (format!("{target}/rel_tgt_id"), number),
            6 => {
                (format!("{target}/{}", self.of(&["aen_disabled", "per_portal_acl", "forward_src"])), number)
            }
            7 => (format!("{target}/{}", self.of(&["QueuedCommands", "FirstBurstLength"])), number),
            8 => (
                format!("{target}/{}", self.of(&["InitialR2T", "ImmediateData"])),
                self.of(&["Yes", "No"]).into(),
            ),
            9 => (format!("{}/io_grouping_type", self.map()), self.of(&["auto", "never", "5", "0"]).into()),
            10 => (format!("{}/cpu_mask", self.map()), self.of(&["1", "3", "f", "0"]).into()),
            11 => (
                format!("{device}/{}", self.of(&["threads_num", "opt_trans_len", "max_tgt_dev_commands"])),
                number,
            ),
            12 => (format!("{device}/threads_pool_type"), self.of(&["shared", "per_initiator"]).into()),
            13 => (format!("{device}/naa_id"), self.of(&["", "0x5000000000000001", "0x1"]).into()),
            14 => (format!("{device}/eui64_id"), self.of(&["", "0x0123456789abcdef"]).into()),
            15 => (
                format!("{device}/{}", self.of(&["vend_specific_id", "prod_rev_lvl", "t10_vend_id"])),
                self.text(8),
            ),
            16 => {
                (format!("{device}/{}", self.of(&["read_zero", "allow_sanitize", "lb_per_pb_exp"])), number)
            }
            _ => ("targets/copy_manager/allow_not_connected_copy".to_owned(), number),
        };
        (path, value)
    }
}

fn model() -> Arc<Model> {
    Model::new(Arc::new(Pool::new(2)), None).unwrap()
}

#[test]
fn save_then_load_is_the_identity() {
    let mut good = 0;
    for seed in 1..=40u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let model = model();
        let tree = Tree::new(Arc::clone(&model));
        for _ in 0..220 {
            let (path, text) = random.write();
            good += usize::from(tree.write(&path, &text).is_ok());
        }
        let saved = save::save(&model.configuration());
        let other = self::model();
        apply_text(&other, &saved, Mode::Merge).unwrap_or_else(|error| panic!("{seed}: {error}\n{saved}"));
        assert_eq!(save::save(&other.configuration()), saved, "seed {seed}");
        for (model, mode) in [(&model, Mode::Merge), (&model, Mode::Exact), (&other, Mode::Exact)] {
            let left = plan_text(model, &saved, mode).unwrap();
            assert!(left.is_empty(), "seed {seed}: {}\n{saved}", left.text());
        }
    }
    assert!(good > 2000, "only {good} writes were right: the test has lost its way");
}
