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
    /// The value of an attribute, without the mark and the newlines behind it. ENOENT no such path, EISDIR an
    /// object, ELOOP a link.
    pub fn get(&self, path: &str) -> Result<String, Error> {
        let text = self.own(|| self.tree.read(path))?;
        let text = text.trim_end_matches('\n');
        Ok(text.strip_suffix("\n[key]").unwrap_or(text).to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Options;

    fn values(instance: &Instance, path: &str, found: &mut Vec<(String, String)>) {
        for (name, kind) in instance.list(path).unwrap() {
            let path = format!("{path}/{name}");
            match kind {
                Kind::Directory => values(instance, &path, found),
                Kind::File { mode } if mode & 0o400 != 0 => {
                    found.push((path.clone(), instance.get(&path).unwrap()))
                }
                _ => {}
            }
        }
    }

    #[test]
    fn no_value_has_the_mark_of_the_tree() {
        let instance = Instance::new(Options::default()).unwrap();
        let target = "targets/iscsi/iqn.2026-01.test:x";
        instance.command("targets/iscsi", "add_target iqn.2026-01.test:x").unwrap();
        instance
            .command("targets/iscsi", "add_target_attribute iqn.2026-01.test:x IncomingUser joe 12charsecret")
            .unwrap();
        instance.set(&format!("{target}/MaxBurstLength"), "65536").unwrap();
        instance.set(&format!("{target}/alias"), "x").unwrap();
        let mut found = Vec::new();
        values(&instance, "", &mut found);
        let is =
            |name: &str| found.iter().find(|(path, _)| path.ends_with(name)).map(|(_, value)| value.as_str());
        assert_eq!(
            [is("x/MaxBurstLength"), is("x/alias"), is("x/IncomingUser")],
            [Some("65536"), Some("x"), Some("joe 12charsecret")]
        );
        for (path, value) in found {
            assert!(!value.contains("[key]") && !value.ends_with('\n'), "{path}: {value:?}");
        }
    }
}
