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
        match self.below(20) {
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
        for _ in 0..150 {
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
    assert!(good > 1000, "only {good} writes were right: the test has lost its way");
}
