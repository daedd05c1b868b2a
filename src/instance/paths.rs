//! The configuration by paths: the tree of SCST (`/sys/kernel/scst_tgt`), without a file system.
//!
//! A path names an object (a directory) or an attribute (a file), from the root of the tree, with or without
//! a slash before it: `devices/disk1/size`, `targets/iscsi/iqn.2026-01.org.example:disk1/enabled`.
//!
//! ```
//! use scstu::attr::Kind;
//! use scstu::instance::{Instance, Options};
//!
//! let instance = Instance::new(Options::default())?;
//! instance.command("handlers/vdisk_ram", "add_device disk1 size=16M")?;
//! assert_eq!(instance.get("devices/disk1/size")?, "16777216");
//! instance.set("devices/disk1/max_tgt_dev_commands", "9")?;
//! let description = instance.describe("devices/disk1/max_tgt_dev_commands")?;
//! assert!(matches!(description.kind, Some(Kind::Number { .. })));
//! assert!(instance.list("devices")?.iter().any(|(name, _)| name == "disk1"));
//! # Ok::<(), scstu::model::Error>(())
//! ```

use crate::instance::Instance;
use crate::mgmt::tree::{Description, Kind};
use crate::model::Error;

impl Instance {
    /// The value of an attribute: its first line. ENOENT no such path, EISDIR an object, ELOOP a link.
    pub fn get(&self, path: &str) -> Result<String, Error> {
        let text = self.own(|| self.tree.read(path))?;
        let value = text.strip_suffix("\n[key]\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text);
        Ok(value.to_owned())
    }

    /// Sets an attribute. EINVAL a value that it does not take; EIO or EACCES one that cannot be set.
    pub fn set(&self, path: &str, value: &str) -> Result<(), Error> {
        if matches!(path.rsplit('/').next(), Some("mgmt")) {
            return Err(Error::new(libc::EINVAL, format!("{path} takes commands, no value")));
        }
        self.own(|| self.tree.write(path, value))
    }

    /// Carries out a command of an object, such as `add_device disk1 size=1G` of `handlers/vdisk_ram`.
    pub fn command(&self, object: &str, command: &str) -> Result<(), Error> {
        let path = format!("{}/mgmt", object.trim_end_matches('/'));
        self.own(|| self.tree.write(&path, command))
    }

    /// What an object has: names and what each is, by name. ENOENT no such path, ENOTDIR an attribute.
    pub fn list(&self, path: &str) -> Result<Vec<(String, Kind)>, Error> {
        self.own(|| self.tree.list(path))
    }

    /// What there is to know of an attribute: values, default, help; of `mgmt`, the commands.
    pub fn describe(&self, path: &str) -> Result<Description, Error> {
        self.own(|| self.tree.describe(path))
    }
}
