//! Asymmetric logical unit access (SPC-4, 5.15.2): target port groups, their states, what each state allows.
//!
//! # How the model uses it
//! A device group gives every one of its devices the same list, whole, whenever anything in it has changed:
//! [`Device::set_target_port_groups`]. A device that is in no group has no list (the default): TPGS is 0 and
//! every path is active. For SET TARGET PORT GROUPS the model implements [`PortGroupControl`] and gives
//! itself to each device once ([`Device::set_port_group_control`]); a device without it, or with `expl_alua`
//! off, offers implicit transitions only. An administrator who closes a backing while the local path cannot
//! be used (`bind_alua_state`) asks [`TargetPortGroups::state`] with the target's name and its port's
//! relative identifier.
//!
//! # What a state allows
//! Is a column of each command's row (`allow` in `opcode.rs`); which column a state asks is a column of the
//! table here.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::scsi::device::Device;
use crate::scsi::opcode::{Allow, OpCode};
use crate::scsi::sense::Sense;

/// Most target port groups of a unit; the list of REPORT TARGET PORT GROUPS stays below 64 KiB.
pub const GROUP_LIMIT: usize = 32;
/// Most ports of a group: TARGET PORT COUNT is one byte.
pub const PORT_LIMIT: usize = 255;

/// Asymmetric access state of a target port group (SPC-4, 6.35, table of ASYMMETRIC ACCESS STATE).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum AccessState {
    /// Active/optimized.
    #[default]
    Active = 0x0,
    /// Active/non-optimized: everything works, another path is faster.
    NonOptimized = 0x1,
    /// Standby: the unit may be looked at and reserved, not read.
    Standby = 0x2,
    /// Unavailable.
    Unavailable = 0x3,
    /// Offline.
    Offline = 0xe,
    /// On the way from one state to another.
    Transitioning = 0xf,
}

/// A state: its name as SCST spells it, which column of a command's row it asks, and the refusal.
struct StateRow {
    state: AccessState,
    name: &'static str,
    asks: Option<(Allow, Sense)>,
}

static STATES: [StateRow; 6] = [
    StateRow { state: AccessState::Active, name: "active", asks: None },
    StateRow { state: AccessState::NonOptimized, name: "nonoptimized", asks: None },
    StateRow {
        state: AccessState::Standby,
        name: "standby",
        asks: Some((Allow::STANDBY, Sense::TARGET_PORT_IN_STANDBY_STATE)),
    },
    StateRow {
        state: AccessState::Unavailable,
        name: "unavailable",
        asks: Some((Allow::UNAVAILABLE, Sense::TARGET_PORT_IN_UNAVAILABLE_STATE)),
    },
    StateRow {
        state: AccessState::Offline,
        name: "offline",
        asks: Some((Allow::UNAVAILABLE, Sense::TARGET_PORT_IN_UNAVAILABLE_STATE)),
    },
    StateRow {
        state: AccessState::Transitioning,
        name: "transitioning",
        asks: Some((Allow::TRANSITIONING, Sense::ASYMMETRIC_ACCESS_STATE_TRANSITION)),
    },
];

impl AccessState {
    /// The state that SCST calls so; the names are `active`, `nonoptimized`, `standby`, `unavailable`,
    /// `offline` and `transitioning`, in small letters.
    pub fn from_name(name: &str) -> Option<Self> {
        STATES.iter().find(|row| row.name == name).map(|row| row.state)
    }

    /// The names that [`AccessState::from_name`] takes, for help and error texts.
    pub fn names() -> impl Iterator<Item = &'static str> {
        STATES.iter().map(|row| row.name)
    }

    /// SCST's name.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The value of ASYMMETRIC ACCESS STATE.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The state with this value.
    pub fn from_code(code: u8) -> Option<Self> {
        STATES.iter().find(|row| row.state.code() == code).map(|row| row.state)
    }

    fn row(self) -> &'static StateRow {
        STATES.iter().find(|row| row.state == self).unwrap_or(&STATES[0])
    }

    /// Whether the medium can be reached: active and nonoptimized.
    pub fn is_accessible(self) -> bool {
        self.row().asks.is_none()
    }

    /// Whether the unit is shown as not connected (PERIPHERAL QUALIFIER 001b): unavailable and offline.
    pub fn hides_unit(self) -> bool {
        self.row().asks.is_some_and(|(column, _)| column == Allow::UNAVAILABLE)
    }

    /// Refuses a command that this state does not allow.
    pub(crate) fn check(self, row: &OpCode) -> Result<(), Sense> {
        match self.row().asks {
            Some((column, sense)) if !row.allow.has(column) => Err(sense),
            _ => Ok(()),
        }
    }
}

/// A target port group of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetPortGroup {
    /// TARGET PORT GROUP (`group_id`): 1 to 65535; 0, SCST's default, stands for "not numbered yet" and is
    /// shown as it is.
    pub group_id: u16,
    /// State of every path through its ports.
    pub state: AccessState,
    /// PREF: the group the initiator should use when it has the choice.
    pub preferred: bool,
    /// RELATIVE TARGET PORT IDENTIFIERs (`rel_tgt_id`), those of targets on other machines included; 0 is
    /// left out of every answer. At most [`PORT_LIMIT`].
    pub ports: Vec<u16>,
    /// Names of its targets on this machine. A session is in the group of its target, also when that has had
    /// another identifier since it logged in.
    pub targets: Vec<String>,
}

/// Why a list of target port groups is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupError {
    /// More than [`GROUP_LIMIT`] groups.
    TooManyGroups,
    /// More than [`PORT_LIMIT`] ports in the group with this identifier.
    TooManyPorts(u16),
    /// The port with this relative identifier is in two groups.
    PortInTwoGroups(u16),
}

impl std::fmt::Display for GroupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            GroupError::TooManyGroups => write!(f, "a device has at most {GROUP_LIMIT} target groups"),
            GroupError::TooManyPorts(group) => {
                write!(f, "target group {group} has more than {PORT_LIMIT} targets")
            }
            GroupError::PortInTwoGroups(port) => {
                write!(f, "the target with rel_tgt_id {port} is in two target groups")
            }
        }
    }
}

impl std::error::Error for GroupError {}

/// Why the state of a group has come about (STATUS CODE of REPORT TARGET PORT GROUPS).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The administrator, or a change of the configuration.
    Implicit,
    /// SET TARGET PORT GROUPS received on this nexus, which needs no unit attention of its own.
    Explicit {
        /// [`crate::scsi::nexus::Nexus::id`].
        nexus: u64,
    },
}

/// A group as a unit shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) group: TargetPortGroup,
    /// STATUS CODE: 0 nothing has changed yet, 1 explicitly, 2 implicitly.
    pub(crate) status_code: u8,
}

/// The target port groups of a unit; a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetPortGroups {
    shown: Vec<Shown>,
}

impl TargetPortGroups {
    /// Whether there are none: the unit knows no asymmetric access.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// The groups in the order they were given.
    pub fn groups(&self) -> impl Iterator<Item = &TargetPortGroup> {
        self.shown.iter().map(|shown| &shown.group)
    }

    pub(crate) fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// The group of the target with this name; where none names it, of the port with this relative
    /// identifier.
    pub fn group_of(&self, target: &str, relative_port: u16) -> Option<&TargetPortGroup> {
        let is_target = |name: &String| name.eq_ignore_ascii_case(target);
        let named = self.groups().find(|group| group.targets.iter().any(is_target));
        named.or_else(|| self.groups().find(|group| group.ports.contains(&relative_port)))
    }

    /// The state of paths through this port: active when it is in no group.
    pub fn state(&self, target: &str, relative_port: u16) -> AccessState {
        self.group_of(target, relative_port).map_or(AccessState::Active, |group| group.state)
    }

    /// The list that replaces this one.
    fn replaced(&self, groups: Vec<TargetPortGroup>, cause: Cause) -> Self {
        let code = if cause == Cause::Implicit { 2 } else { 1 };
        let shown = groups.into_iter().map(|group| {
            let before = self.shown.iter().find(|shown| shown.group.group_id == group.group_id);
            let status_code = match before {
                Some(before) if before.group.state != group.state => code,
                Some(before) => before.status_code,
                None => 0,
            };
            Shown { group, status_code }
        });
        TargetPortGroups { shown: shown.collect() }
    }

    /// Whether this differs from what was shown before in more than groups that have begun a transition:
    /// of that initiators learn when it is over (SPC-4, 5.15.2.5).
    fn is_news(&self, before: &TargetPortGroups) -> bool {
        let settled = |groups: &TargetPortGroups| -> Vec<TargetPortGroup> {
            let mut groups: Vec<TargetPortGroup> = groups.groups().cloned().collect();
            for group in &mut groups {
                let now = self.groups().find(|now| now.group_id == group.group_id);
                if now.is_some_and(|now| now.state == AccessState::Transitioning) {
                    group.state = AccessState::Transitioning;
                }
            }
            groups
        };
        settled(self) != settled(before)
    }
}

/// SET TARGET PORT GROUPS could not be carried out: SET TARGET PORT GROUPS COMMAND FAILED.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControlFailed;

/// Carries out explicit transitions. Implemented by whoever owns the groups: the model.
///
/// Called on a worker with no lock held; it may block, and may call [`Device::set_target_port_groups`].
pub trait PortGroupControl: Send + Sync {
    /// Gives each group, by identifier, its new state, all or none, and the new list to every device that
    /// shares the groups, with [`Cause::Explicit`] and this nexus. Identifiers are those of groups that
    /// `device` has; transitioning is never asked for.
    fn set_states(
        &self,
        device: &str,
        states: &[(u16, AccessState)],
        nexus: u64,
    ) -> Result<(), ControlFailed>;
}

/// What a unit knows of target port groups.
#[derive(Default)]
pub(crate) struct Alua {
    groups: Mutex<Arc<TargetPortGroups>>,
    control: Mutex<Option<Arc<dyn PortGroupControl>>>,
}

impl Alua {
    /// Holds off changes of the groups while the caller looks at them.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Arc<TargetPortGroups>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The access state of one I_T_L nexus, where admission reads it without a lock.
#[derive(Debug, Default)]
pub(crate) struct PathState(AtomicU8);

impl PathState {
    #[inline]
    pub(crate) fn get(&self) -> AccessState {
        match self.0.load(Ordering::Acquire) {
            0 => AccessState::Active,
            code => AccessState::from_code(code).unwrap_or_default(),
        }
    }

    pub(crate) fn set(&self, state: AccessState) {
        self.0.store(state.code(), Ordering::Release);
    }
}

impl Device {
    /// The target port groups at the moment; none for a unit that is in no device group.
    pub fn target_port_groups(&self) -> Arc<TargetPortGroups> {
        Arc::clone(&self.alua.lock())
    }

    /// Replaces the target port groups; none ends asymmetric access, and every path is active again.
    ///
    /// Commands admitted from now on are checked against the new states. Every nexus learns of a new state,
    /// a new PREF or other members (2A/06), except of a group that has only begun a transition and except
    /// the nexus that asked for it; that the unit has begun or ended to have groups changes its INQUIRY
    /// data (3F/03). May be called from any thread.
    pub fn set_target_port_groups(
        &self,
        groups: Vec<TargetPortGroup>,
        cause: Cause,
    ) -> Result<(), GroupError> {
        check(&groups)?;
        let (is_news, inquiry_changed) = {
            let mut current = self.alua.lock();
            let new = Arc::new(current.replaced(groups, cause));
            for itl in self.itls() {
                itl.path.set(new.state(&itl.target, itl.ports.relative_port));
            }
            let told = (new.is_news(&current), new.is_empty() != current.is_empty());
            *current = new;
            told
        };
        if inquiry_changed {
            self.refresh_operations();
            self.attention(Sense::INQUIRY_DATA_HAS_CHANGED, None);
        }
        if is_news {
            let by = if let Cause::Explicit { nexus } = cause { Some(nexus) } else { None };
            self.attention(Sense::ASYMMETRIC_ACCESS_STATE_CHANGED, by);
        }
        Ok(())
    }

    /// Who carries out SET TARGET PORT GROUPS; with nobody, transitions are implicit only.
    pub fn set_port_group_control(&self, control: Option<Arc<dyn PortGroupControl>>) {
        *self.alua.control.lock().unwrap_or_else(PoisonError::into_inner) = control;
        self.refresh_operations();
    }

    pub(crate) fn port_group_control(&self) -> Option<Arc<dyn PortGroupControl>> {
        self.alua.control.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Checks a list that [`Device::set_target_port_groups`] is to be given.
pub fn check(groups: &[TargetPortGroup]) -> Result<(), GroupError> {
    if groups.len() > GROUP_LIMIT {
        return Err(GroupError::TooManyGroups);
    }
    let mut seen = Vec::new();
    for group in groups {
        if group.ports.len() > PORT_LIMIT {
            return Err(GroupError::TooManyPorts(group.group_id));
        }
        for port in group.ports.iter().filter(|port| **port != 0) {
            if seen.contains(port) {
                return Err(GroupError::PortInTwoGroups(*port));
            }
            seen.push(*port);
        }
    }
    Ok(())
}
