//! The attributes of targets and groups: SCST's tables (1.6, 1.8), and the keys of RFC 7143.

use crate::attr::{Access, Attr, Error, Kind, Saved, Tail};
use crate::iscsi::directory::Redirect;
use crate::iscsi::key::KeyId;
use crate::model::effect::Effect;
use crate::model::processors;
use crate::model::target::{Group, HasMap, TargetObject};
use crate::scsi::lun::AddressingMethod;

type Row = Attr<TargetObject>;

/// Where an initiator is sent that names no port.
const DEFAULT_PORT: &str = ":3260";

fn flag(value: bool) -> String {
    u8::from(value).to_string()
}

macro_rules! switch {
    ($name:literal $help:literal, |$t:ident| $place:expr) => {
        Attr {
            name: $name,
            kind: Kind::Bool,
            default: "0",
            help: $help,
            get: |$t| flag($place),
            set: |$t, value| {
                $place = value.bool();
                Ok(())
            },
            ..Row::ROW
        }
    };
}

/// The row of a key; its syntax and default repeat the key's own row, which a test compares.
macro_rules! key {
    ($id:ident $default:literal $syntax:literal) => {
        Attr {
            name: crate::iscsi::key::KEYS[KeyId::$id as usize].name,
            kind: Kind::Own(concat!($syntax, ", or :default:")),
            default: $default,
            tail: Tail::AfterKey,
            help: crate::iscsi::key::KEYS[KeyId::$id as usize].help,
            get: |t| KeyId::$id.row().format(t.values[KeyId::$id]),
            set: |t, value| set_key(t, KeyId::$id, &value.text(), $syntax),
            ..Row::ROW
        }
    };
}

fn set_key(target: &mut TargetObject, key: KeyId, text: &str, syntax: &str) -> Result<(), Error> {
    let row = key.row();
    let wrong = |_| Error::invalid(format!("\"{text}\" is not {syntax}, or :default:"));
    target.values[key] = if text == ":default:" { row.offer } else { row.parse(text).map_err(wrong)? };
    let (target, values, pending) = (target.name.clone(), target.values, &mut target.map.pending);
    pending.push(Effect::Values { target, values: Box::new(values) });
    Ok(())
}

/// Attributes of whatever has a map of LUNs.
pub const fn map_rows<T: HasMap + 'static>() -> &'static [Attr<T>] {
    <Rows<T>>::ROWS
}

struct Rows<T>(std::marker::PhantomData<T>);

fn close_all<T: HasMap>(object: &mut T) {
    let map = object.map_mut();
    let effect = Effect::CloseAll(map.scope.clone());
    map.pending.push(effect);
}

fn set_processors<T: HasMap>(object: &mut T, text: &str) -> Result<(), Error> {
    let mask = processors::parse(text)?;
    if object.map().cpu_mask != mask {
        object.map_mut().cpu_mask = mask;
        close_all(object);
    }
    Ok(())
}

fn set_grouping<T: HasMap>(object: &mut T, text: String) -> Result<(), Error> {
    let is_word = ["auto", "this_group_only", "never"].contains(&text.as_str());
    if !is_word && crate::attr::number(&text)?.is_none_or(|number| number == 0) {
        return Err(Error::invalid(format!("\"{text}\" is not auto, this_group_only, never or a number")));
    }
    object.map_mut().io_grouping_type = text;
    Ok(())
}

impl<T: HasMap + 'static> Rows<T> {
    const ROWS: &'static [Attr<T>] = &[
        Attr {
            name: "addr_method",
            kind: Kind::Own("PERIPHERAL, FLAT or LUN"),
            default: "PERIPHERAL",
            help: "how LUNs are written in REPORT LUNS",
            get: |object| {
                let words = [
                    (AddressingMethod::Peripheral, "PERIPHERAL"),
                    (AddressingMethod::Flat, "FLAT"),
                    (AddressingMethod::Lun, "LUN"),
                ];
                let word = words.iter().find(|(method, _)| *method == object.map().method);
                word.map_or(String::new(), |(_, word)| (*word).to_owned())
            },
            set: |object, value| {
                let text = value.text();
                object.map_mut().method = match text.to_ascii_uppercase().as_str() {
                    "PERIPHERAL" => AddressingMethod::Peripheral,
                    "FLAT" => AddressingMethod::Flat,
                    "LUN" => AddressingMethod::Lun,
                    _ => return Err(Error::invalid(format!("\"{text}\" is not PERIPHERAL, FLAT or LUN"))),
                };
                Ok(())
            },
            ..Attr::ROW
        },
        Attr {
            name: "cpu_mask",
            kind: Kind::Own("a hexadecimal bit mask, 32 bits at a time with commas between"),
            default: "every processor",
            saved: Saved::When(|object| object.map().cpu_mask.is_some()),
            help: "processors of the sessions' threads; a change closes the sessions, so that they come back",
            get: |object| processors::format(object.map().cpu_mask.as_deref()),
            set: |object, value| set_processors(object, &value.text()),
            ..Attr::ROW
        },
        Attr {
            name: "io_grouping_type",
            kind: Kind::Own("auto, this_group_only, never or a number"),
            default: "auto",
            compatibility: Some("there are no I/O contexts in user mode"),
            help: "which initiators share an I/O context",
            get: |object| object.map().io_grouping_type.clone(),
            set: |object, value| set_grouping(object, value.text()),
            ..Attr::ROW
        },
        Attr {
            name: "black_hole",
            kind: Kind::Number { min: 0, max: 4 },
            default: "0",
            saved: Saved::Never,
            help: "for tests: 1 commands are never answered, 3 those that transfer data; \
                   2 and 4 the same, and task management neither; 0 off",
            get: |object| object.map().black_hole.to_string(),
            set: |object, value| {
                object.map_mut().black_hole = u8::try_from(value.number()).unwrap_or(0);
                Ok(())
            },
            ..Attr::ROW
        },
    ];
}

/// Attributes of groups, besides [`map_rows`].
pub static GROUP_ATTRIBUTES: &[Attr<Group>] = &[Attr {
    name: "per_sess_dedicated_tgt_threads",
    kind: Kind::Bool,
    default: "0",
    compatibility: Some("every connection has a thread of its own"),
    help: "each session has threads of its own",
    get: |group| flag(group.per_sess_dedicated_tgt_threads),
    set: |group, value| {
        group.per_sess_dedicated_tgt_threads = value.bool();
        Ok(())
    },
    ..Attr::ROW
}];

const NO_FORWARDING: &str = "commands are not forwarded between nodes";

/// Attributes of the targets of any driver, besides [`map_rows`].
pub static CORE_ATTRIBUTES: &[Row] = &[
    Attr {
        name: "rel_tgt_id",
        kind: Kind::Number { min: 0, max: 65535 },
        default: "0",
        help: "relative target port identifier, unique among enabled targets; given when the target is \
               enabled first, 0 until then",
        get: |t| t.relative_identifier.to_string(),
        set: |t, value| {
            let number = u16::try_from(value.number()).unwrap_or(0);
            if number == 0 && t.enabled {
                return Err(Error::invalid("0 is possible only while the target is disabled"));
            }
            t.relative_identifier = number;
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        compatibility: Some(NO_FORWARDING),
        ..switch!("forward_src" "commands that come here are forwarded", |t| t.forward[0])
    },
    Attr {
        compatibility: Some(NO_FORWARDING),
        ..switch!("forward_dst" "commands that come here were forwarded", |t| t.forward[1])
    },
    Attr {
        compatibility: Some(NO_FORWARDING),
        ..switch!("forwarding" "another name of forward_dst", |t| t.forward[1])
    },
    Attr {
        compatibility: Some("changes are always reported as unit attentions, which no initiator ignores"),
        ..switch!("aen_disabled" "changes are not reported in asynchronous messages", |t| t.aen_disabled)
    },
    Attr {
        name: "comment",
        kind: Kind::Text(4000),
        help: "text for people",
        get: |t| t.comment.clone(),
        set: |t, value| {
            t.comment = value.text();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "sg_tablesize",
        kind: Kind::Number { min: 0, max: 65535 },
        access: Access::ReadOnly,
        saved: Saved::Never,
        help: "pieces of memory in a command",
        get: |_| "65535".to_owned(),
        ..Row::ROW
    },
];

/// The only attribute of copy manager targets is their map; there is nothing besides.
pub static COPY_MANAGER_ATTRIBUTES: &[Row] = CORE_ATTRIBUTES;

/// `ADDR[:PORT] temp|perm` (SCST 1.6.2).
fn redirect(text: &str) -> Result<Option<Redirect>, Error> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (address, how) = match words.as_slice() {
        [] => return Ok(None),
        [address, how @ ("temp" | "perm")] => (*address, *how),
        _ => return Err(Error::invalid("\"ADDRESS[:PORT] temp\" or \"ADDRESS[:PORT] perm\" is wanted")),
    };
    if address.len() > 64 {
        return Err(Error::new(libc::ERANGE, format!("the address {address} is longer than 64 characters")));
    }
    let full = match address.parse::<std::net::SocketAddr>() {
        Ok(full) => Some(full),
        Err(_) => format!("{address}{DEFAULT_PORT}").parse().ok(),
    };
    let wrong =
        || Error::invalid(format!("\"{address}\" is no address: IPv6 needs brackets, ports are 1 to 65535"));
    let full = full.filter(|full| full.port() != 0).ok_or_else(wrong)?;
    Ok(Some(Redirect { address: full.to_string(), is_permanent: how == "perm" }))
}

/// Attributes of iSCSI targets, besides those of all targets.
pub static ISCSI_ATTRIBUTES: &[Row] = &[
    Attr {
        name: "enabled",
        default: "0",
        saved: Saved::Never,
        help: "logins are accepted; sessions stay when it is 0",
        get: |t| flag(t.enabled),
        set: |t, value| {
            t.enabled = value.bool();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "tid",
        kind: Kind::Number { min: 1, max: u32::MAX as u64 },
        access: Access::ReadOnly,
        saved: Saved::Never,
        help: "number of the target, never used again",
        get: |t| t.tid.to_string(),
        ..Row::ROW
    },
    Attr {
        name: "alias",
        kind: Kind::Text(255),
        tail: Tail::AfterKey,
        help: "TargetAlias, which initiators show to people",
        get: |t| t.alias.clone(),
        set: |t, value| {
            t.alias = value.text();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        tail: Tail::AfterKey,
        ..switch!("per_portal_acl" "groups are looked up by INITIATOR#PORTAL", |t| t.per_portal_acl)
    },
    Attr {
        name: "redirect",
        kind: Kind::Own("ADDRESS[:PORT] and temp or perm, or nothing"),
        tail: Tail::AfterKey,
        help: "where initiators are sent that log in, for now or for good",
        get: |t| {
            let Some(redirect) = &t.redirect else { return String::new() };
            let address = redirect.address.strip_suffix(DEFAULT_PORT).unwrap_or(&redirect.address);
            format!("{address} {}", if redirect.is_permanent { "perm" } else { "temp" })
        },
        set: |t, value| {
            t.redirect = redirect(&value.text())?;
            Ok(())
        },
        ..Row::ROW
    },
    key!(InitialR2T "No" "Yes or No"),
    key!(ImmediateData "Yes" "Yes or No"),
    key!(MaxRecvDataSegmentLength "1048576" "a number from 512 to 16777215"),
    key!(MaxXmitDataSegmentLength "1048576" "a number from 512 to 16777215"),
    key!(MaxBurstLength "1048576" "a number from 512 to 16777215"),
    key!(FirstBurstLength "1048576" "a number from 512 to 16777215"),
    key!(MaxOutstandingR2T "32" "a number from 1 to 65535"),
    key!(HeaderDigest "None" "None, CRC32C or None,CRC32C"),
    key!(DataDigest "None" "None, CRC32C or None,CRC32C"),
    Attr {
        compatibility: Some("iSER needs hardware; the answer is always No"),
        ..key!(RDMAExtensions "No" "Yes or No")
    },
    key!(QueuedCommands "128" "a number from 1 to 2048"),
    key!(RspTimeout "90" "a number from 2 to 65535"),
    key!(NopInInterval "30" "a number from 0 to 65535"),
    key!(NopInTimeout "30" "a number from 2 to 65535"),
    key!(MaxSessions "0" "a number from 0 to 65535"),
    key!(Nagle "coalesce" "coalesce, never, adaptive or always"),
    key!(PollUs "auto" "auto or a number from 0 to 1000"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iscsi::key::{Key, Kind as KeyKind};

    #[test]
    fn every_key_has_its_row_with_the_same_default_and_range() {
        for key in Key::attributes() {
            let row = ISCSI_ATTRIBUTES.iter().find(|row| row.name == key.name);
            let row = row.unwrap_or_else(|| panic!("{} has no row", key.name));
            assert_eq!(row.default, key.format(key.offer), "{}", key.name);
            let Kind::Own(syntax) = row.kind else { panic!("{}", key.name) };
            let (min, max) = key.range;
            if max > 1 {
                let word = match key.kind {
                    KeyKind::LocalNumberOr(word) => format!("{word} or "),
                    _ => String::new(),
                };
                assert_eq!(
                    syntax,
                    format!("{word}a number from {min} to {max}, or :default:"),
                    "{}",
                    key.name
                );
            }
        }
    }

    #[test]
    fn redirections_are_addresses_and_a_word() {
        let mut target = TargetObject::new("t", 1);
        let row = ISCSI_ATTRIBUTES.iter().find(|row| row.name == "redirect").unwrap();
        for (text, shown) in [
            ("10.0.0.9:3261 temp", "10.0.0.9:3261 temp"),
            ("10.0.0.9 perm", "10.0.0.9 perm"),
            ("10.0.0.9:3260 perm", "10.0.0.9 perm"),
            ("[fe80::1]:3261 temp", "[fe80::1]:3261 temp"),
            ("[fe80::1] temp", "[fe80::1] temp"),
            ("", ""),
        ] {
            row.write(&mut target, text).unwrap();
            assert_eq!((row.get)(&target), shown);
        }
        for (text, errno) in [
            ("10.0.0.9", libc::EINVAL),
            ("10.0.0.9 later", libc::EINVAL),
            ("10.0.0.9 temp now", libc::EINVAL),
            ("10.0.0.9:0 temp", libc::EINVAL),
            ("somewhere temp", libc::EINVAL),
            (&format!("{} temp", "1".repeat(99)), libc::ERANGE),
        ] {
            assert_eq!(row.write(&mut target, text).unwrap_err().errno, errno, "{text}");
        }
    }
}
