//! Devices: configuration as attribute rows, and the unit made of it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::attr::{Access, Attr, Kind, Value, to_hex};
use crate::backstore::gate::Gate;
use crate::backstore::registry::{HANDLERS, Handler, Medium, OpenRequest, REGISTERED_PARAMETERS};
use crate::backstore::{BlockError, Capabilities};
use crate::model::{Error, check_access, invalid};
use crate::scsi::device::{
    Device, DeviceType, Dispatch, Identity, MediumState, NewDevice, Settings, StateStore,
};

/// What an administrator has said of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Parameters of the backstore.
    pub open: OpenRequest,
    /// Settings of the unit.
    pub settings: Settings,
    /// TST.
    pub tst: u8,
    /// The backstore is open.
    pub active: bool,
}

/// A device of the configuration.
#[derive(Clone)]
pub struct DeviceObject {
    /// Its handler.
    pub handler: Arc<Handler>,
    /// Its configuration.
    pub config: DeviceConfig,
    /// The unit.
    pub device: Arc<Device>,
}

type Row = Attr<DeviceConfig>;

fn flag(value: bool) -> String {
    u8::from(value).to_string()
}

macro_rules! identity_text {
    ($name:ident, $max:literal, $help:literal) => {
        Attr {
            name: stringify!($name),
            kind: Kind::Text($max),
            access: Access::ReadWrite,
            default: "",
            help: $help,
            get: |c| c.settings.identity.$name.clone(),
            set: |c, v| c.settings.identity.$name = v.text(),
        }
    };
}

macro_rules! switch {
    ($name:literal, $access:ident, $default:literal, $help:literal, |$c:ident| $place:expr) => {
        Attr {
            name: $name,
            kind: Kind::Bool,
            access: Access::$access,
            default: $default,
            help: $help,
            get: |$c| flag($place),
            set: |$c, v| $place = v.bool(),
        }
    };
}

/// All attributes of devices; a handler lists which of the parameters it takes.
pub const ATTRIBUTES: &[Row] = &[
    Attr {
        name: "filename",
        kind: Kind::Text(4095),
        access: Access::ReadWrite,
        default: "",
        help: "file or block device, an absolute path; of a drive, the medium",
        get: |c| c.open.filename.as_ref().map_or(String::new(), |path| path.display().to_string()),
        set: |c, v| c.open.filename = Some(v.text()).filter(|text| !text.is_empty()).map(PathBuf::from),
    },
    Attr {
        name: "size",
        kind: Kind::Size,
        access: Access::ReadWrite,
        default: "",
        help: "size in bytes",
        get: |c| c.open.size.map_or(String::new(), |size| size.to_string()),
        set: |c, v| c.open.size = Some(v.number()),
    },
    Attr {
        name: "size_mb",
        kind: Kind::Number { min: 1, max: 1 << 40 },
        access: Access::ReadWrite,
        default: "",
        help: "size in MiB",
        get: |c| c.open.size.map_or(String::new(), |size| (size >> 20).to_string()),
        set: |c, v| c.open.size = Some(v.number() << 20),
    },
    Attr {
        name: "blocksize",
        kind: Kind::Number { min: 512, max: 4096 },
        access: Access::CreateOnly,
        default: "512",
        help: "logical block length in bytes: 512, 1024, 2048 or 4096",
        get: |c| c.open.blocksize.map_or(String::new(), |size| size.to_string()),
        set: |c, v| c.open.blocksize = u32::try_from(v.number()).ok(),
    },
    Attr {
        name: "read_only",
        kind: Kind::Bool,
        access: Access::CreateOnly,
        default: "0",
        help: "refuse writes",
        get: |c| flag(c.open.read_only),
        set: |c, v| {
            c.open.read_only = v.bool();
            c.settings.read_only = v.bool();
        },
    },
    switch!("write_through", CreateOnly, "0", "every write is durable before it is answered", |c| c
        .open
        .write_through),
    Attr {
        name: "nv_cache",
        kind: Kind::Bool,
        access: Access::CreateOnly,
        default: "0",
        help: "the cache survives power loss: nothing is flushed",
        get: |c| flag(c.open.nv_cache),
        set: |c, v| {
            c.open.nv_cache = v.bool();
            c.settings.nv_cache = v.bool();
        },
    },
    switch!("o_direct", CreateOnly, "0", "past the page cache", |c| c.open.o_direct),
    Attr {
        name: "thin_provisioned",
        kind: Kind::Bool,
        access: Access::CreateOnly,
        default: "",
        help: "offer to free blocks; without it, whatever the backing can do is offered",
        get: |c| c.open.thin_provisioned.map_or(String::new(), flag),
        set: |c, v| c.open.thin_provisioned = Some(v.bool()),
    },
    Attr {
        name: "options",
        kind: Kind::Text(4095),
        access: Access::CreateOnly,
        default: "",
        help: "text for the handler, which alone knows what it means",
        get: |c| c.open.options.clone(),
        set: |c, v| c.open.options = v.text(),
    },
    switch!("rotational", CreateOnly, "1", "the medium rotates (VPD page B1h)", |c| c.settings.rotational),
    switch!("removable", CreateOnly, "0", "the medium can be removed (RMB)", |c| c.settings.removable),
    switch!("dummy", CreateOnly, "0", "a placeholder, as LUN 0", |c| c.settings.dummy),
    Attr {
        name: "tst",
        kind: Kind::Number { min: 0, max: 1 },
        access: Access::CreateOnly,
        default: "1",
        help: "task set: 1 one for each nexus, 0 one for all",
        get: |c| c.tst.to_string(),
        set: |c, v| c.tst = u8::try_from(v.number()).unwrap_or(1),
    },
    switch!("active", ReadWrite, "1", "the backing is open; without it the unit is not ready", |c| c.active),
    switch!("lb_per_pb_exp", ReadWrite, "1", "report the physical block length", |c| c
        .settings
        .lb_per_pb_exp),
    Attr {
        name: "opt_trans_len",
        kind: Kind::Number { min: 0, max: 32 << 20 },
        access: Access::ReadWrite,
        default: "524288",
        help: "optimal transfer length in bytes (VPD page B0h)",
        get: |c| c.settings.opt_trans_len.to_string(),
        set: |c, v| c.settings.opt_trans_len = u32::try_from(v.number()).unwrap_or(0),
    },
    Attr {
        name: "max_tgt_dev_commands",
        kind: Kind::Number { min: 0, max: 65535 },
        access: Access::ReadWrite,
        default: "64",
        help: "commands of one initiator before TASK SET FULL; 0 for no limit",
        get: |c| c.settings.max_tgt_dev_commands.to_string(),
        set: |c, v| c.settings.max_tgt_dev_commands = u32::try_from(v.number()).unwrap_or(64),
    },
    switch!("expl_alua", ReadWrite, "0", "SET TARGET PORT GROUPS is supported", |c| c.settings.expl_alua),
    switch!("allow_sanitize", ReadWrite, "0", "SANITIZE is supported", |c| c.settings.allow_sanitize),
    Attr {
        name: "sanitize_min_ms",
        kind: Kind::Number { min: 0, max: 86_400_000 },
        access: Access::ReadWrite,
        default: "0",
        help: "shortest time of SANITIZE OVERWRITE in milliseconds",
        get: |c| c.settings.sanitize_min_ms.to_string(),
        set: |c, v| c.settings.sanitize_min_ms = u32::try_from(v.number()).unwrap_or(0),
    },
    identity_text!(t10_vend_id, 8, "T10 vendor identification"),
    identity_text!(prod_id, 16, "product identification"),
    identity_text!(prod_rev_lvl, 4, "product revision level"),
    identity_text!(vend_specific_id, 128, "vendor specific identifier of the T10 designator"),
    identity_text!(t10_dev_id, 25, "SCST's device identifier"),
    identity_text!(usn, 20, "unit serial number"),
    identity_text!(scsi_device_name, 250, "SCSI name string of the target device"),
    Attr {
        name: "naa_id",
        kind: Kind::Hex(&[8, 16]),
        access: Access::ReadWrite,
        default: "",
        help: "NAA designator",
        get: |c| to_hex(&c.settings.identity.naa_id),
        set: |c, v| c.settings.identity.naa_id = v.bytes(),
    },
    Attr {
        name: "eui64_id",
        kind: Kind::Hex(&[8, 12, 16]),
        access: Access::ReadWrite,
        default: "",
        help: "EUI-64 designator",
        get: |c| to_hex(&c.settings.identity.eui64_id),
        set: |c, v| c.settings.identity.eui64_id = v.bytes(),
    },
    Attr {
        name: "inq_vend_specific",
        kind: Kind::Text(160),
        access: Access::ReadWrite,
        default: "",
        help: "vendor specific bytes of the standard INQUIRY data",
        get: |c| String::from_utf8_lossy(&c.settings.identity.inq_vend_specific).into_owned(),
        set: |c, v| c.settings.identity.inq_vend_specific = v.text().into_bytes(),
    },
];

/// Identity of a device that was given none: unique to this installation and this name, and the same after
/// every restart. The designator is NAA 3h, locally assigned (SPC-4, 7.8.6.6.3).
pub fn default_identity(setup_id: u64, name: &str) -> Identity {
    let id = fingerprint(setup_id, name);
    let usn = format!("{id:016x}");
    let mut naa = (id >> 4).to_be_bytes();
    naa[0] = 0x30 | (naa[0] & 0x0f);
    let mut t10_dev_id = format!("{usn}-{name}");
    t10_dev_id.truncate(25);
    Identity {
        prod_id: name.chars().take(16).collect(),
        vend_specific_id: t10_dev_id.clone(),
        t10_dev_id,
        usn,
        naa_id: naa.to_vec(),
        ..Identity::default()
    }
}

/// 64 bits of a digest over installation and name.
fn fingerprint(setup_id: u64, name: &str) -> u64 {
    use sha2::Digest;
    let digest = sha2::Sha256::new().chain_update(setup_id.to_be_bytes()).chain_update(name).finalize();
    digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

fn find(name: &str, handler: &Handler) -> Result<&'static Row, Error> {
    let is_parameter_elsewhere = |row: &Row| {
        let mut lists = HANDLERS.iter().map(|h| h.parameters).chain([REGISTERED_PARAMETERS]);
        !handler.parameters.contains(&row.name) && lists.any(|list| list.contains(&row.name))
    };
    let row = ATTRIBUTES.iter().find(|row| row.name == name && !is_parameter_elsewhere(row));
    row.ok_or_else(|| {
        let known: Vec<&str> =
            ATTRIBUTES.iter().filter(|row| !is_parameter_elsewhere(row)).map(|row| row.name).collect();
        let text = format!("{} has no attribute {name}; there are {}", handler.name, known.join(", "));
        Error::new(libc::ENOENT, text)
    })
}

fn parse(row: &Row, text: &str) -> Result<Value, Error> {
    row.kind.parse(text).map_err(|text| invalid(format!("{}: {text}", row.name)))
}

/// The medium a configuration opens; none when it is not active, or for an empty drive.
fn open(handler: &Handler, config: &DeviceConfig) -> Result<Option<Arc<Gate>>, Error> {
    if !config.active {
        return Ok(None);
    }
    let store = handler.open(&config.open).map_err(|error| Error::new(error.errno, error.text))?;
    Ok(store.map(|store| Arc::new(Gate::new(store))))
}

impl DeviceObject {
    /// Opens a new device.
    pub(super) fn open(
        handler: Arc<Handler>,
        name: &str,
        parameters: &[(String, String)],
        identity: Identity,
        (dispatch, store): (&Arc<dyn Dispatch>, Option<&Arc<dyn StateStore>>),
    ) -> Result<Self, Error> {
        let settings = Settings { identity, ..Settings::default() };
        let mut config = DeviceConfig {
            open: OpenRequest { device: name.to_owned(), ..OpenRequest::default() },
            settings,
            tst: 1,
            active: true,
        };
        for (name, value) in parameters {
            let row = find(name, &handler)?;
            (row.set)(&mut config, parse(row, value)?);
        }
        let gate = open(&handler, &config)?;
        config.settings.thin_provisioned = is_thin(&config, gate.as_deref());
        let new = NewDevice {
            name: name.to_owned(),
            device_type: match handler.medium {
                Medium::Disk => DeviceType::Disk,
                Medium::CdRom => DeviceType::CdRom,
            },
            settings: config.settings.clone(),
            block_size: config.open.blocksize.unwrap_or(if handler.medium == Medium::CdRom {
                2048
            } else {
                512
            }),
            task_set_type: config.tst,
            gate,
        };
        let device = match store {
            Some(store) => Device::open(new, Arc::clone(dispatch), Arc::clone(store))
                .map_err(|error| Error::new(libc::EIO, format!("device {name}: {error}")))?,
            None => Device::new(new, Arc::clone(dispatch)),
        };
        if !config.active {
            device.set_medium(None, MediumState::Closed);
        }
        Ok(DeviceObject { handler, config, device })
    }

    /// Sets an attribute while the unit is in use.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let row = find(name, &self.handler)?;
        check_access(row.access, name)?;
        let mut config = self.config.clone();
        (row.set)(&mut config, parse(row, value)?);
        match name {
            "size" | "size_mb" => self.resize(config.open.size.unwrap_or(0))?,
            "active" => self.activate(&config)?,
            "filename" => self.change_file(&config)?,
            _ => self.device.change_settings(|settings| *settings = config.settings.clone()),
        }
        self.config = config;
        Ok(())
    }

    fn resize(&self, bytes: u64) -> Result<(), Error> {
        let gate =
            self.device.gate().ok_or_else(|| Error::new(libc::EMEDIUMTYPE, "the device is not active"))?;
        let block = u64::from(gate.geometry().block_size);
        if bytes == 0 || bytes % block != 0 {
            return Err(invalid(format!("size {bytes} is not a positive multiple of blocksize {block}")));
        }
        gate.resize(bytes).map_err(|error| {
            let errno = if let BlockError::Io(errno) = error { errno } else { libc::EINVAL };
            Error::new(errno, format!("size {bytes}: {error}"))
        })?;
        self.device.refresh_geometry();
        Ok(())
    }

    fn activate(&self, config: &DeviceConfig) -> Result<(), Error> {
        if config.active == self.config.active {
            return Ok(());
        }
        self.device.set_medium(open(&self.handler, config)?, MediumState::Closed);
        Ok(())
    }

    /// Of a disk only while it is closed; of a drive it changes the medium.
    fn change_file(&self, config: &DeviceConfig) -> Result<(), Error> {
        if self.handler.medium == Medium::CdRom {
            self.device.set_medium(open(&self.handler, config)?, MediumState::TrayClosed);
            return Ok(());
        }
        if self.config.active {
            return Err(Error::new(libc::EBUSY, "filename can be changed only while active is 0"));
        }
        Ok(())
    }
}

/// Blocks can be freed: asked for, or the backing can and nobody has said no.
fn is_thin(config: &DeviceConfig, gate: Option<&Gate>) -> bool {
    let can = gate.is_some_and(|gate| gate.capabilities().contains(Capabilities::UNMAP));
    can && config.open.thin_provisioned.unwrap_or(true)
}
