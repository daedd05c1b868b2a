//! A target in this process, without configuration: for tests that need their own backstore.
#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation)] // Each test uses a part.

pub mod gated;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use scstu::backstore::gate::Gate;
use scstu::backstore::io::{Io, Operation};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::iscsi::attachment::{Attachment, Host, LiveSession};
use scstu::iscsi::directory::{Directory, Offer, Query, Refusal, TargetRecord, Wanted};
use scstu::iscsi::login::SessionRequest;
use scstu::iscsi::login_error::LoginStatus;
use scstu::names::IscsiName;
use scstu::scsi::device::{Device, DeviceType, Dispatch, Identity, NewDevice, Settings};
use scstu::scsi::lun::AddressingMethod;
use scstu::scsi::nexus::{LunEntry, LunMap, Nexus};
use scstu::server::pool::Pool;
use scstu::server::{Server, ServerOptions};

/// The target that is told of.
pub const TARGET: &str = "iqn.2026-01.test:target";
/// Another one with the same units, for those who know its name.
pub const OTHER_TARGET: &str = "iqn.2026-01.test:other";

/// Blocks in memory.
pub struct Memory {
    blocks: Mutex<Vec<u8>>,
    block_size: u32,
    never_blocks: bool,
}

impl Memory {
    /// Does what was handed over to an asynchronous store, and completes it.
    pub fn carry_out(&self, mut io: Io) {
        let (offset, length) = (io.offset(), io.length());
        let result = match io.operation() {
            Operation::Read => self.read(offset, io.data()),
            Operation::Write { durable } => self.write(offset, io.data(), durable),
            Operation::Flush => self.flush(),
            Operation::Unmap => self.unmap(offset, length),
        };
        io.complete(result);
    }

    pub fn new(bytes: usize, block_size: u32, never_blocks: bool) -> Self {
        Memory { blocks: Mutex::new(vec![0; bytes]), block_size, never_blocks }
    }
}

impl Backstore for Memory {
    fn geometry(&self) -> Geometry {
        Geometry {
            block_size: self.block_size,
            blocks: self.blocks.lock().unwrap().len() as u64 / u64::from(self.block_size),
            physical_block_exponent: 0,
            optimal_transfer_bytes: 0,
            unmap_granularity_bytes: 0,
            unmap_alignment_bytes: 0,
        }
    }

    fn capabilities(&self) -> Capabilities {
        let blocking = if self.never_blocks { Capabilities::NEVER_BLOCKS } else { Capabilities::NONE };
        blocking.with(Capabilities::UNMAP).with(Capabilities::UNMAP_READS_ZERO)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        let at = offset as usize;
        into.copy_from_slice(&self.blocks.lock().unwrap()[at..at + into.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8], _durable: bool) -> Result<(), BlockError> {
        let at = offset as usize;
        self.blocks.lock().unwrap()[at..at + from.len()].copy_from_slice(from);
        Ok(())
    }

    fn unmap(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        let at = offset as usize;
        self.blocks.lock().unwrap()[at..at + length as usize].fill(0);
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

/// One target with a fixed map.
pub struct OneTarget {
    map: Arc<LunMap>,
    absent: Arc<Device>,
    well_known: Arc<Device>,
    address: Mutex<Option<SocketAddr>>,
}

impl Directory for OneTarget {
    fn target(&self, target: &IscsiName, _query: &Query<'_>) -> Result<Offer, Refusal> {
        if [TARGET, OTHER_TARGET].contains(&target.as_str()) {
            Ok(Offer::open())
        } else {
            Err(Refusal::Status(LoginStatus::NOT_FOUND))
        }
    }

    fn discovery(&self, _query: &Query<'_>) -> Result<Offer, Refusal> {
        Ok(Offer::open())
    }

    fn send_targets(&self, wanted: Wanted<'_>, query: &Query<'_>) -> Vec<TargetRecord> {
        match wanted {
            Wanted::Named(name) if name != TARGET => Vec::new(),
            _ => vec![TargetRecord { name: TARGET.to_owned(), addresses: vec![(query.portal, 1)] }],
        }
    }
}

impl Host for OneTarget {
    fn attach(&self, _request: &SessionRequest, _query: &Query<'_>) -> Result<Attachment, LoginStatus> {
        Ok(Attachment {
            map: Arc::clone(&self.map),
            relative_identifier: 1,
            absent: Arc::clone(&self.absent),
            well_known: Arc::clone(&self.well_known),
            processors: None,
            most_sessions: 0,
        })
    }

    fn opened(&self, _session: LiveSession) {}

    fn closed(&self, _nexus: &Arc<Nexus>) {}
}

/// A unit over `store`.
pub fn device(name: &str, store: Arc<dyn Backstore>, dispatch: &Arc<dyn Dispatch>) -> Arc<Device> {
    let gate = Arc::new(Gate::new(store));
    let block_size = gate.geometry().block_size;
    let identity = Identity { vend_specific_id: name.to_owned(), ..Identity::default() };
    let new = NewDevice {
        name: name.to_owned(),
        device_type: DeviceType::Disk,
        settings: Settings { identity, thin_provisioned: true, allow_sanitize: true, ..Settings::default() },
        gate: Some(gate),
        block_size,
        task_set_type: 1,
    };
    Device::new(new, Arc::clone(dispatch))
}

/// A unit without a medium, for LUNs that are not there.
pub fn pseudo(device_type: DeviceType, dispatch: &Arc<dyn Dispatch>) -> Arc<Device> {
    let new = NewDevice {
        name: String::new(),
        device_type,
        settings: Settings::default(),
        gate: None,
        block_size: 512,
        task_set_type: 1,
    };
    Device::new(new, Arc::clone(dispatch))
}

/// Serves these stores as LUN 0, 1, ... of [`TARGET`] on a free port of 127.0.0.1.
pub fn serve(stores: Vec<Arc<dyn Backstore>>, options: ServerOptions) -> (Server, SocketAddr) {
    let pool = Pool::new(options.workers);
    let dispatch: Arc<dyn Dispatch> = Arc::new(pool.clone());
    let entries = stores
        .into_iter()
        .enumerate()
        .map(|(lun, store)| LunEntry {
            lun: u16::try_from(lun).unwrap(),
            device: device(&format!("disk{lun}"), store, &dispatch),
            read_only: false,
        })
        .collect();
    let host = OneTarget {
        map: Arc::new(LunMap::new(entries, AddressingMethod::Peripheral)),
        absent: pseudo(DeviceType::Absent, &dispatch),
        well_known: pseudo(DeviceType::WellKnown, &dispatch),
        address: Mutex::new(None),
    };
    let server = Server::new(options, Arc::new(host), pool);
    let address = server.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    (server, address)
}
