//! Every mutation as a value.

use crate::model::object::{Object, Scope};

/// A mutation. Names are those of the tree; names of targets are taken without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An attribute gets another value.
    Set {
        /// Whose.
        object: Object,
        /// Which; also a file of an attribute that comes and goes, such as `IncomingUser1`.
        attribute: String,
        /// Value.
        value: String,
    },
    /// An attribute is again what it is when nobody has set it.
    Reset {
        /// Whose.
        object: Object,
        /// Which; none of those that come and go.
        attribute: String,
    },
    /// A value of an attribute that comes and goes: accounts and portals, of a target or of the driver.
    AddValue {
        /// [`Object::Target`] or [`Object::Iscsi`].
        object: Object,
        /// Which.
        attribute: String,
        /// Value.
        value: String,
    },
    /// Such a value goes.
    RemoveValue {
        /// [`Object::Target`] or [`Object::Iscsi`].
        object: Object,
        /// Which.
        attribute: String,
        /// Value; of an account the name is enough.
        value: String,
    },
    /// A new device of a handler, with its parameters.
    AddDevice {
        /// Handler.
        handler: String,
        /// Name of the device.
        name: String,
        /// Parameters and attributes, in order.
        parameters: Vec<(String, String)>,
    },
    /// A device goes, and every LUN that it is.
    RemoveDevice(String),
    /// The device gets another size in bytes; of a file device the file does.
    Resize(String, u64),
    /// The size of the device's backing is read again.
    Resync(String),
    /// A new target.
    AddTarget(String),
    /// A target goes; it must have no sessions.
    RemoveTarget(String),
    /// A new group of initiators of a target.
    AddGroup(String, String),
    /// A group goes; it must have no sessions.
    RemoveGroup(String, String),
    /// These groups of a target, which it has, come into this order among themselves; the others stay where
    /// they are. The first that matches an initiator has it.
    OrderGroups(String, Vec<String>),
    /// An initiator, as a pattern, of a group.
    AddInitiator(String, String, String),
    /// An initiator leaves a group.
    RemoveInitiator(String, String, String),
    /// An initiator changes from a group to another of the same target.
    MoveInitiator {
        /// Target.
        target: String,
        /// Group that has the pattern.
        group: String,
        /// Pattern.
        pattern: String,
        /// Group that gets it.
        to: String,
    },
    /// All initiators leave a group.
    ClearInitiators(String, String),
    /// A new LUN.
    AddLun {
        /// Where.
        scope: Scope,
        /// Number.
        lun: u16,
        /// Device.
        device: String,
        /// Mapped read-only.
        read_only: bool,
    },
    /// A LUN becomes another device, or a new LUN where there was none.
    ReplaceLun {
        /// Where.
        scope: Scope,
        /// Number.
        lun: u16,
        /// Device.
        device: String,
        /// Mapped read-only.
        read_only: bool,
        /// Initiators are not told.
        is_silent: bool,
    },
    /// A LUN goes.
    RemoveLun(Scope, u16),
    /// All LUNs go.
    ClearLuns(Scope),
    /// A new device group.
    AddDeviceGroup(String),
    /// A device group goes.
    RemoveDeviceGroup(String),
    /// A device joins a device group.
    AddGroupDevice(String, String),
    /// A device leaves a device group.
    RemoveGroupDevice(String, String),
    /// A new target group of a device group.
    AddTargetGroup(String, String),
    /// A target group goes.
    RemoveTargetGroup(String, String),
    /// A target, of this node or of another, joins a target group.
    AddMember(String, String, String),
    /// A target leaves a target group.
    RemoveMember(String, String, String),
}

impl Change {
    /// An attribute of an object.
    pub fn set(object: Object, attribute: impl Into<String>, value: impl Into<String>) -> Self {
        Change::Set { object, attribute: attribute.into(), value: value.into() }
    }

    /// An attribute of a target.
    pub fn set_target(
        target: impl Into<String>,
        attribute: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        Change::set(Object::Target(target.into()), attribute, value)
    }
}
