//! The rows of the commands as a table for people. It holds no fact of its own.

use crate::scsi::device::DeviceType;
use crate::scsi::opcode::{Access, Allow, Data, Medium, OpCode, Order, Types};
use crate::scsi::ops::OPERATIONS;

/// Every command, in Markdown, by operation code and service action.
pub fn markdown() -> String {
    let head = "| Code | Command | CDB | Units | Data | Medium | Order | Runs although |\n\
                |---|---|---|---|---|---|---|---|\n";
    OPERATIONS.iter().fold(String::from(head), |table, row| table + &line(row))
}

fn line(row: &OpCode) -> String {
    let action = row.service_action.map_or(String::new(), |action| format!("/{action:02x}h"));
    format!(
        "| {:02x}h{action} | {} | {} | {} | {} | {} | {} | {} |\n",
        row.opcode,
        row.name,
        row.usage.len() + 1,
        units(row.types),
        data(row.data),
        medium(row.medium),
        order(row.order),
        exceptions(row.allow),
    )
}

fn units(types: Types) -> &'static str {
    match (types.meets(DeviceType::Disk.types()), types.meets(DeviceType::CdRom.types())) {
        (true, true) => "disk, CD",
        (true, false) => "disk",
        (false, _) => "CD",
    }
}

fn data(data: Data) -> &'static str {
    match data {
        Data::None => "",
        Data::In(_) => "in",
        Data::Out(_) => "out",
        Data::BlocksIn => "blocks in",
        Data::BlocksOut => "blocks out",
        Data::Announced => "as announced",
        Data::Custom(_) => "by CDB",
    }
}

fn medium(medium: Medium) -> &'static str {
    match medium {
        Medium::None => "",
        Medium::Elsewhere => "blocks of named units",
        Medium::Blocks { access: Access::Read, .. } => "reads blocks",
        Medium::Blocks { access: Access::Write, .. } => "writes blocks",
        Medium::Whole(Access::Read) => "reads",
        Medium::Whole(Access::Write) => "writes",
        Medium::Unit => "changes the unit",
    }
}

fn order(order: Order) -> &'static str {
    match order {
        Order::AsSent => "as sent",
        Order::AtOnce => "at once",
        Order::Ordered => "ordered",
        Order::Exclusive => "one at a time",
        Order::Outlives => "ordered, outlives its task",
    }
}

/// What would refuse another command.
fn exceptions(allow: Allow) -> String {
    let all = [
        (Allow::NO_LUN, "no LUN"),
        (Allow::UNIT_ATTENTION, "unit attention"),
        (Allow::NO_MEDIUM, "no medium"),
        (Allow::BACKGROUND, "format or sanitize"),
        (Allow::RESERVED, "RESERVE"),
        (Allow::WRITE_EXCLUSIVE, "Write Exclusive"),
        (Allow::EXCLUSIVE_ACCESS, "Exclusive Access"),
        (Allow::STANDBY, "standby"),
        (Allow::UNAVAILABLE, "unavailable"),
        (Allow::TRANSITIONING, "transitioning"),
    ];
    let names: Vec<&str> = all.iter().filter(|(bit, _)| allow.has(*bit)).map(|(_, name)| *name).collect();
    names.join(", ")
}
