//! Handlers: the kinds of backstore, as objects of the tree.

use std::sync::Arc;

use crate::attr::{Access, Attr, Kind, Saved};
use crate::backstore::registry::{Handler, Medium};

/// A handler.
pub struct HandlerObject(pub Arc<Handler>);

/// PERIPHERAL DEVICE TYPE as SCST writes it; scstadmin splits it at the hyphen.
pub fn device_type(medium: Medium) -> &'static str {
    match medium {
        Medium::Disk => "0 - Direct-access device (e.g., magnetic disk)",
        Medium::CdRom => "5 - CD-ROM device",
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
