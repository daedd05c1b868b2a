//! What an instance tells: sessions, devices, figures.
//!
//! ```
//! use scstu::instance::{Instance, Options};
//!
//! let instance = Instance::new(Options::default())?;
//! instance.add_device("vdisk_ram", "disk1", &[("size", "16M")])?;
//! assert_eq!(instance.statistics().devices, 1);
//! assert_eq!(instance.device_state("disk1")?.bytes, 16 << 20);
//! assert!(instance.sessions().is_empty());
//! assert_eq!(instance.kick(7).unwrap_err().errno, 2);
//! # Ok::<(), scstu::model::Error>(())
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::instance::Instance;
use crate::model::Error;
use crate::scsi::counters::Figures;
use crate::scsi::device::Device;
use crate::server::sessions::{CloseReason, Session};

/// A session, as it was when it was asked for.
#[derive(Clone, Debug)]
pub struct SessionState {
    /// Number, never used again.
    pub id: u64,
    /// Target session identifying handle.
    pub tsih: u16,
    /// Initiator session identifier.
    pub isid: [u8; 6],
    /// Initiator name.
    pub initiator: String,
    /// Target name; empty for a discovery session.
    pub target: String,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The portal's address.
    pub portal: SocketAddr,
    /// For how long it has been open.
    pub age: Duration,
    /// What its commands were.
    pub traffic: Traffic,
}

/// Sums over I_T_L nexuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Commands with data to the initiator.
    pub read_commands: u64,
    /// Commands with data from the initiator.
    pub write_commands: u64,
    /// Commands without data.
    pub other_commands: u64,
    /// Bytes to the initiator.
    pub read_bytes: u64,
    /// Bytes from the initiator.
    pub write_bytes: u64,
    /// Commands that ended with CHECK CONDITION.
    pub check_conditions: u64,
    /// Commands that are not finished.
    pub in_flight: u64,
}

impl Traffic {
    fn add(&mut self, figures: &Figures) {
        self.other_commands += figures.commands[0];
        self.read_commands += figures.commands[1];
        self.write_commands += figures.commands[2];
        self.read_bytes += figures.bytes[0];
        self.write_bytes += figures.bytes[1];
        self.check_conditions += figures.sense_keys.iter().sum::<u64>();
        self.in_flight += figures.in_flight;
    }
}

/// A device, as it was when it was asked for.
#[derive(Clone, Debug, Default)]
pub struct DeviceState {
    /// Size in bytes; 0 without a medium.
    pub bytes: u64,
    /// Logical block length in bytes.
    pub block_size: u32,
    /// Nexuses that see it.
    pub nexuses: usize,
    /// What the commands of those nexuses were.
    pub traffic: Traffic,
    /// Calls of its backstore.
    pub operations: u64,
    /// Calls that failed.
    pub errors: u64,
}

/// An instance, as it was when it was asked.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Connections.
    pub connections: usize,
    /// Sessions.
    pub sessions: usize,
    /// Devices.
    pub devices: usize,
    /// Targets.
    pub targets: usize,
    /// Worker threads.
    pub workers: usize,
    /// Worker threads that wait for work.
    pub idle_workers: usize,
    /// Worker threads that a backstore has not given back for long.
    pub stuck_workers: usize,
    /// Tasks that wait for a worker.
    pub queued_tasks: usize,
    /// Memory that commands hold, in bytes.
    pub buffer_bytes: usize,
    /// The most that they may hold, in bytes.
    pub buffer_budget: usize,
    /// What the commands of the sessions that exist were.
    pub traffic: Traffic,
}

fn state(session: &Session) -> SessionState {
    let mut traffic = Traffic::default();
    for itl in session.nexus.iter().flat_map(|nexus| nexus.itls()) {
        traffic.add(&itl.figures());
    }
    SessionState {
        id: session.id,
        tsih: session.tsih,
        isid: session.isid,
        initiator: session.initiator.clone(),
        target: session.target.clone(),
        peer: session.peer,
        portal: session.portal,
        age: session.opened.elapsed(),
        traffic,
    }
}

impl Instance {
    /// The sessions, oldest first.
    pub fn sessions(&self) -> Vec<SessionState> {
        self.server.sessions().iter().map(|session| state(session)).collect()
    }

    /// Closes a session. Its initiator may log in again. ENOENT when there is none of this number.
    pub fn kick(&self, session: u64) -> Result<(), Error> {
        let sessions = self.server.sessions();
        let found = sessions.iter().find(|known| known.id == session);
        let found =
            found.ok_or_else(|| Error::new(libc::ENOENT, format!("there is no session {session}")))?;
        self.own(|| found.close(CloseReason::Kicked));
        Ok(())
    }

    pub(super) fn device(&self, name: &str) -> Result<Arc<Device>, Error> {
        let configuration = self.model.configuration();
        let object = configuration.devices.get(name);
        let missing = || Error::new(libc::ENOENT, format!("there is no device {name}"));
        object.map(|object| Arc::clone(&object.device)).ok_or_else(missing)
    }

    /// State and figures of a device.
    pub fn device_state(&self, name: &str) -> Result<DeviceState, Error> {
        let device = self.device(name)?;
        let geometry = device.geometry();
        let itls = device.itls();
        let mut traffic = Traffic::default();
        for itl in &itls {
            traffic.add(&itl.figures());
        }
        let counts = device.gate().map_or((0, 0), |gate| gate.counts.totals());
        Ok(DeviceState {
            bytes: geometry.bytes(),
            block_size: geometry.block_size,
            nexuses: itls.len(),
            traffic,
            operations: counts.0,
            errors: counts.1,
        })
    }

    /// Figures of the instance.
    pub fn statistics(&self) -> Statistics {
        let sessions = self.sessions();
        let pool = self.server.pool().state();
        let (devices, targets) = {
            let configuration = self.model.configuration();
            (configuration.devices.len(), configuration.targets.len())
        };
        let mut traffic = Traffic::default();
        for session in &sessions {
            traffic = traffic.plus(&session.traffic);
        }
        Statistics {
            connections: self.server.connections(),
            sessions: sessions.len(),
            devices,
            targets,
            workers: pool.workers,
            idle_workers: pool.idle,
            stuck_workers: pool.stuck,
            queued_tasks: pool.queued,
            buffer_bytes: self.server.buffers().in_use(),
            buffer_budget: self.server.buffers().budget(),
            traffic,
        }
    }
}

impl Traffic {
    fn plus(self, other: &Traffic) -> Traffic {
        Traffic {
            read_commands: self.read_commands + other.read_commands,
            write_commands: self.write_commands + other.write_commands,
            other_commands: self.other_commands + other.other_commands,
            read_bytes: self.read_bytes + other.read_bytes,
            write_bytes: self.write_bytes + other.write_bytes,
            check_conditions: self.check_conditions + other.check_conditions,
            in_flight: self.in_flight + other.in_flight,
        }
    }
}
