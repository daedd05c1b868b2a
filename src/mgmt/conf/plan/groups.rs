//! `DEVICE_GROUP` sections: which targets reach which devices, and in which state.

use crate::mgmt::conf::Error;
use crate::mgmt::conf::parse::Node;
use crate::mgmt::conf::plan::{Mode, Planner, When, line, targets, unknown};
use crate::model::device_group::{DeviceGroup, GROUP_ATTRIBUTES, MEMBER_ATTRIBUTES, Member, TargetGroup};
use crate::model::{Change, Object};

impl Planner<'_> {
    pub(super) fn device_group(&mut self, node: &Node) -> Result<(), Error> {
        let name = node.value("the name of a device group")?;
        let object = Object::DeviceGroup(name.to_owned());
        self.once(node, object.path(), &format!("DEVICE_GROUP {name}"))?;
        let configuration = self.now.clone();
        let fresh = DeviceGroup::default();
        let known = configuration.device_groups.get(name);
        let now = known.map_or(&fresh, AsRef::as_ref);
        if known.is_none() {
            self.add(node, Change::AddDeviceGroup(name.to_owned()));
        }
        for child in node.children() {
            match child.name.as_str() {
                "DEVICE" => self.group_device(child, name, now)?,
                "TARGET_GROUP" => self.target_group(child, name, now)?,
                _ => return Err(unknown(child, "DEVICE and TARGET_GROUP")),
            }
        }
        Ok(())
    }

    fn group_device(&mut self, node: &Node, group: &str, now: &DeviceGroup) -> Result<(), Error> {
        line(node, "DEVICE and TARGET_GROUP")?;
        let device = node.value("the name of a device")?;
        let what = format!("DEVICE {device} in a device group");
        self.once(node, format!("device_groups DEVICE {device}"), &what)?;
        self.seen.insert(device_key(group, device), node.place);
        self.there_is(node, device)?;
        // A device that is made anew has left its group.
        if !now.devices.contains(device) || self.renewed.contains(device) {
            self.add(node, Change::AddGroupDevice(group.to_owned(), device.to_owned()));
        }
        Ok(())
    }

    fn target_group(&mut self, node: &Node, group: &str, now: &DeviceGroup) -> Result<(), Error> {
        let name = node.value("the name of a target group")?;
        let object = Object::TargetGroup(group.to_owned(), name.to_owned());
        self.once(node, object.path(), &format!("TARGET_GROUP {name}"))?;
        let fresh = TargetGroup::default();
        let known = now.target_groups.get(name);
        let now = known.unwrap_or(&fresh);
        if known.is_none() {
            self.add(node, Change::AddTargetGroup(group.to_owned(), name.to_owned()));
        }
        for child in node.children() {
            match child.name.as_str() {
                "TARGET" => self.member(child, (group, name), now)?,
                attribute => {
                    self.once(child, format!("{} {attribute}", object.path()), attribute)?;
                    self.compare(child, object.clone(), &[GROUP_ATTRIBUTES], now, When::InOrder)?;
                }
            }
        }
        Ok(())
    }

    fn member(&mut self, node: &Node, (group, name): (&str, &str), now: &TargetGroup) -> Result<(), Error> {
        let target = node.value("the name of a target")?;
        let object = Object::Remote(group.to_owned(), name.to_owned(), target.to_owned());
        let what = format!("TARGET {target} in this device group");
        self.once(node, format!("device_groups/{group} TARGET {target}"), &what)?;
        self.seen.insert(member_key(group, name, target), node.place);
        let stays = self.mode == Mode::Merge && self.now.target(target).is_some();
        let is_here = stays || self.has_seen(&targets::target_key(target));
        let fresh = Member { is_local: is_here, relative_identifier: 0 };
        // A target that goes leaves its groups, and the file means one of another node.
        let known = now.members.get(target).filter(|known| is_here || !known.is_local);
        let now = known.unwrap_or(&fresh);
        if known.is_none() {
            let (group, name) = (group.to_owned(), name.to_owned());
            self.add(node, Change::AddMember(group, name, target.to_owned()));
        }
        for child in node.children() {
            if is_here || now.is_local {
                let what = "a target of this daemon has its own identifier; only other nodes' are set here";
                return Err(child.wrong(what));
            }
            self.once(child, format!("{} {}", object.path(), child.name), &child.name)?;
            self.compare(child, object.clone(), &[MEMBER_ATTRIBUTES], now, When::InOrder)?;
        }
        Ok(())
    }
}

/// That a device is in this group: it may have been in another.
pub(super) fn device_key(group: &str, device: &str) -> String {
    format!("device_groups/{group} DEVICE {device}")
}

/// The same of a target and a target group.
pub(super) fn member_key(group: &str, name: &str, target: &str) -> String {
    format!("device_groups/{group} TARGET_GROUP {name} TARGET {target}")
}
