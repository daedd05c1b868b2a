//! Reservations as text: what APTPL keeps over power loss, and SCST's `pr_state`.
//!
//! ```text
//! version 1
//! generation 7
//! aptpl 1
//! reservation 5 0
//! registrant 1 00000000deadbeef 1 60 450000...
//! ```
//!
//! `reservation` has type and scope in hexadecimal; a registrant has its relative target port, its key, 1 if
//! it holds the reservation, and its TransportID's length and bytes in hexadecimal. Lines of other kinds are
//! refused: half a state is worse than none. What is kept ends with a line `end`.

use std::fmt;
use std::fmt::Write as _;

use crate::bytes::Take;
use crate::scsi::nexus::PortPair;
use crate::scsi::reservation::{REGISTRATION_LIMIT, Registration, ReservationType, Reservations};
use crate::scsi::transport_id;

/// Last line of what is kept.
const END: &str = "end\n";
/// How a file begins that SCST has kept: a signature and a version, in the byte order of its machine. Those
/// of little-endian machines are read.
const SCST_HEAD: [u8; 16] = [0x77, 0xdd, 0xbb, 0xee, 0xaa, 0xee, 0xee, 0xbb, 1, 0, 0, 0, 0, 0, 0, 0];

/// Why a text is not the state of a unit's reservations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotAState {
    /// Line, from 1; 0 when the lines do not fit each other.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for NotAState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

impl std::error::Error for NotAState {}

impl Reservations {
    /// The whole state, whether APTPL is set or not.
    pub fn text(&self) -> String {
        let mut text = format!("version 1\ngeneration {}\n", self.generation);
        if self.persists {
            text.push_str("aptpl 1\n");
        }
        if let Some(kind) = self.reservation {
            text.push_str(&format!("reservation {:x} 0\n", kind.code()));
        }
        for r in &self.registrations {
            let id = transport_id::encode(&r.ports.initiator);
            let holds = u8::from(r.is_holder);
            let head = format!("registrant {} {:016x} {holds} {} ", r.ports.relative_port, r.key, id.len());
            text.push_str(&head);
            for byte in id {
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
        text
    }

    /// What must be kept: nothing when APTPL is off or nobody is registered.
    pub fn saved(&self) -> Vec<u8> {
        if self.persists && !self.registrations.is_empty() {
            format!("{}{END}", self.text()).into_bytes()
        } else {
            Vec::new()
        }
    }

    /// What [`Reservations::text`] wrote, with no nexus attached.
    pub fn parse(text: &str) -> Result<Self, NotAState> {
        let mut state = Reservations::default();
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, line)| line) != Some("version 1") {
            return Err(NotAState { line: 1, what: "the first line must be \"version 1\"" });
        }
        for (index, line) in lines {
            state.read_line(line).map_err(|what| NotAState { line: index + 1, what })?;
        }
        state.check().map_err(|what| NotAState { line: 0, what })?;
        Ok(state)
    }

    /// What [`Reservations::saved`] wrote before the power went, or what SCST did: PRGENERATION starts at 0
    /// again.
    pub fn restore(saved: &[u8]) -> Result<Self, NotAState> {
        if let Some(rest) = saved.strip_prefix(&SCST_HEAD[..]) {
            let wrong = |what| NotAState { line: 0, what };
            let state = Self::of_scst(rest).ok_or(wrong("what SCST has kept ends early, or is damaged"))?;
            state.check().map_err(wrong)?;
            return Ok(state);
        }
        let text = std::str::from_utf8(saved).map_err(|_| NotAState { line: 0, what: "it is no text" })?;
        let text = text.strip_suffix(END).ok_or(NotAState { line: 0, what: "its end is missing" })?;
        Ok(Reservations { generation: 0, ..Self::parse(text)? })
    }

    /// SCST's file behind its head: APTPL, whether there is a reservation, type, scope; then for each
    /// registrant whether it holds the reservation, its TransportID, its key in network order, and its
    /// relative target port.
    fn of_scst(bytes: &[u8]) -> Option<Self> {
        let mut take = Take::new(bytes);
        let head = take.bytes(4)?;
        let mut state = Reservations { persists: head[0] != 0, ..Reservations::default() };
        if head[1] != 0 {
            state.reservation = Some(ReservationType::from_code(head[2]).filter(|_| head[3] == 0)?);
        }
        while !take.rest().is_empty() && state.registrations.len() <= REGISTRATION_LIMIT {
            let is_holder = take.bytes(1)?[0] != 0;
            let initiator = transport_id::decode(&mut take)?.port()?;
            let key = take.u64().filter(|key| *key != 0)?;
            let port = take.bytes(2)?;
            let relative_port = u16::from_le_bytes([port[0], port[1]]);
            let ports = PortPair { initiator, relative_port };
            state.registrations.push(Registration { ports, key, is_holder, nexus: None });
        }
        // SCST marks one of them also where all hold the reservation.
        if state.reservation.is_some_and(|kind| kind.is_held_by_all()) {
            state.registrations.iter_mut().for_each(|own| own.is_holder = true);
        }
        Some(state)
    }

    fn read_line(&mut self, line: &str) -> Result<(), &'static str> {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["generation", number] => {
                self.generation = number.parse().map_err(|_| "generation wants a number of 32 bits")?;
            }
            ["aptpl", flag] => {
                self.persists = holds(flag).ok_or("aptpl wants 0 or 1")?;
            }
            ["reservation", kind, "0"] => {
                let code = u8::from_str_radix(kind, 16).ok().and_then(ReservationType::from_code);
                self.reservation = Some(code.ok_or("the type must be 1, 3, 5, 6, 7 or 8")?);
            }
            ["reservation", ..] => return Err("reservation wants a type and scope 0"),
            ["registrant", port, key, holds, length, id] => {
                let registration = registrant((port, key), holds, (length, id));
                self.registrations.push(registration.ok_or("this is no registrant")?);
            }
            _ => return Err("this line is not known"),
        }
        Ok(())
    }

    /// Nobody is registered twice, and the holders are those that the type wants.
    fn check(&self) -> Result<(), &'static str> {
        if self.registrations.len() > REGISTRATION_LIMIT {
            return Err("there are too many registrants");
        }
        let mut names: Vec<_> = self
            .registrations
            .iter()
            .map(|r| (&r.ports.initiator.name, r.ports.initiator.isid, r.ports.relative_port))
            .collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a registrant is there twice");
        }
        let holders = self.registrations.iter().filter(|r| r.is_holder).count();
        let fits = match self.reservation {
            None => holders == 0,
            Some(kind) if kind.is_held_by_all() => holders == self.registrations.len() && holders > 0,
            Some(_) => holders == 1,
        };
        if fits { Ok(()) } else { Err("the holders do not fit the type of the reservation") }
    }
}

fn holds(flag: &str) -> Option<bool> {
    match flag {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

fn registrant((port, key): (&str, &str), flag: &str, (length, id): (&str, &str)) -> Option<Registration> {
    let length: usize = length.parse().ok()?;
    if length > transport_id::MAX_LENGTH || id.len() != length * 2 || !id.is_ascii() {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        (0..length).map(|at| u8::from_str_radix(&id[at * 2..at * 2 + 2], 16).ok()).collect();
    let bytes = bytes?;
    let mut take = Take::new(&bytes);
    let initiator = transport_id::decode(&mut take)?.port()?;
    Some(Registration {
        ports: PortPair { initiator, relative_port: port.parse().ok()? },
        key: u64::from_str_radix(key, 16).ok().filter(|key| *key != 0)?,
        is_holder: holds(flag)?,
        nexus: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SCST's file: APTPL, WRITE EXCLUSIVE - REGISTRANTS ONLY, two registrants.
    fn scst_file() -> Vec<u8> {
        let mut file = SCST_HEAD.to_vec();
        file.extend([1, 1, 5, 0]);
        for (holder, isid, key, port) in [(1_u8, 1_u8, 0xa_u64, 1_u16), (0, 2, 0xb, 0x102)] {
            let mut name = format!("iqn.2026-01.test:a,i,0x0000000000{isid:02x}").into_bytes();
            name.push(0);
            name.resize(name.len().next_multiple_of(4), 0);
            file.extend([holder, 0x45, 0, 0, u8::try_from(name.len()).unwrap()]);
            file.extend(name);
            file.extend(key.to_be_bytes());
            file.extend(port.to_le_bytes());
        }
        file
    }

    #[test]
    fn scst_5_8_2_what_scst_has_kept_is_read() {
        let state = Reservations::restore(&scst_file()).unwrap();
        let text = state.text();
        assert!(text.starts_with("version 1\ngeneration 0\naptpl 1\nreservation 5 0\n"), "{text}");
        assert!(
            text.contains("\nregistrant 1 000000000000000a 1 ") && text.contains("\nregistrant 258 "),
            "{text}"
        );
        assert_eq!(Reservations::restore(&state.saved()).unwrap().text(), text, "and kept in our own form");
        let mut of_all = scst_file();
        of_all[18] = 7;
        let text = Reservations::restore(&of_all).unwrap().text();
        assert_eq!(text.lines().filter(|line| line.contains(" 1 ")).count(), 2, "{text}");
        let whole = scst_file();
        for length in 0..whole.len() {
            let cut = Reservations::restore(&whole[..length]);
            // Behind a whole registrant the file is shorter, and right.
            let is_whole = cut.is_ok_and(|state| state.registrations.len() == 1);
            assert_eq!(is_whole, length == 20 + (whole.len() - 20) / 2, "{length}");
        }
        for (at, value) in [(8, 2), (18, 9), (19, 1), (20, 0), (21, 0x46), (24, 1)] {
            let mut wrong = whole.clone();
            wrong[at] = value;
            assert!(Reservations::restore(&wrong).is_err(), "byte {at}");
        }
    }
}
