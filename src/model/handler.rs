//! Handlers: the kinds of backstore, as objects of the tree.

use std::sync::Arc;

use crate::attr::{Access, Attr, Kind, Saved};
use crate::backstore::registry::{Handler, Medium};
use crate::scsi::device::DeviceType;

/// A handler.
pub struct HandlerObject(pub Arc<Handler>);

/// PERIPHERAL DEVICE TYPE as SCST writes it; scstadmin splits it at the hyphen.
pub fn device_type(medium: Medium) -> &'static str {
    match medium {
        Medium::Disk => "0 - Direct-access device (e.g., magnetic disk)",
        Medium::CdRom => "5 - CD-ROM device",
        Medium::Passed => "31 - Unknown or no device type",
    }
}

/// The same of a device.
pub fn type_of(device: DeviceType) -> String {
    match device {
        DeviceType::CdRom | DeviceType::Passed(0x05) => device_type(Medium::CdRom).to_owned(),
        DeviceType::Passed(0x14) => "20 - Host managed zoned block device".to_owned(),
        DeviceType::Passed(other) if other != 0 => format!("{other} - Device"),
        _ => device_type(Medium::Disk).to_owned(),
    }
}

/// All of them.
pub static ATTRIBUTES: &[Attr<HandlerObject>] = &[Attr {
    name: "type",
    kind: Kind::Text(64),
    access: Access::ReadOnly,
    saved: Saved::Never,
    help: "number and name of the peripheral device type",
    get: |handler| device_type(handler.0.medium).to_owned(),
    ..Attr::ROW
}];
