//! A SCSI Command PDU as the SCSI layer takes it (RFC 7143 11.3).

use crate::scsi::TaskAttribute;
use crate::scsi::cdb::Cdb;
use crate::scsi::lun::LunField;
use crate::scsi::task::Command;
use crate::wire::request::ScsiCommand;

/// The command in a PDU. Data of a direction that is not announced is not expected.
pub fn command(pdu: &ScsiCommand) -> Command {
    let length = pdu.expected_data_transfer_length;
    Command {
        tag: pdu.initiator_task_tag,
        lun: LunField(pdu.lun),
        attribute: attribute(pdu.attribute),
        cdb: cdb(pdu),
        expected_in: match (pdu.is_read, pdu.is_write) {
            (true, true) => pdu.additional.bidirectional_read_length.unwrap_or(0),
            (true, false) => length,
            _ => 0,
        },
        expected_out: if pdu.is_write { length } else { 0 },
        is_immediate: pdu.is_immediate,
    }
}

/// RFC 7143 11.3.1.2; a reserved value is as unsupported as ACA.
fn attribute(code: u8) -> TaskAttribute {
    match code {
        0 | 1 => TaskAttribute::Simple,
        2 => TaskAttribute::Ordered,
        3 => TaskAttribute::HeadOfQueue,
        _ => TaskAttribute::Aca,
    }
}

fn cdb(pdu: &ScsiCommand) -> Cdb {
    match &pdu.additional.extended_cdb {
        None => Cdb::new(&pdu.cdb),
        Some(more) => Cdb::new(&[&pdu.cdb, &more[..]].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ahs::AdditionalHeaders;

    fn pdu(is_read: bool, is_write: bool) -> ScsiCommand {
        ScsiCommand {
            is_immediate: false,
            is_final: true,
            is_read,
            is_write,
            attribute: 1,
            lun: [0; 8],
            initiator_task_tag: 5,
            expected_data_transfer_length: 4096,
            cmd_sn: 0,
            cdb: [0x7f; 16],
            additional: AdditionalHeaders::default(),
        }
    }

    #[test]
    fn rfc7143_11_3_1_expected_lengths_follow_the_direction() {
        let expected = |pdu: &ScsiCommand| (command(pdu).expected_in, command(pdu).expected_out);
        assert_eq!(expected(&pdu(true, false)), (4096, 0));
        assert_eq!(expected(&pdu(false, true)), (0, 4096));
        assert_eq!(expected(&pdu(false, false)), (0, 0));
        let mut both = pdu(true, true);
        assert_eq!(expected(&both), (0, 4096));
        both.additional.bidirectional_read_length = Some(512);
        assert_eq!(expected(&both), (512, 4096));
        let segment_without_direction =
            ScsiCommand { additional: both.additional.clone(), ..pdu(true, false) };
        assert_eq!(expected(&segment_without_direction), (4096, 0));
    }

    #[test]
    fn rfc7143_11_3_1_2_task_attributes() {
        let attributes: Vec<_> = (0..8).map(attribute).collect();
        assert_eq!(
            attributes[..4],
            [
                TaskAttribute::Simple,
                TaskAttribute::Simple,
                TaskAttribute::Ordered,
                TaskAttribute::HeadOfQueue
            ]
        );
        assert!(attributes[4..].iter().all(|attribute| *attribute == TaskAttribute::Aca));
    }

    #[test]
    fn rfc7143_11_2_2_3_an_extended_cdb_goes_on_at_byte_16() {
        let mut pdu = pdu(true, false);
        pdu.additional.extended_cdb = Some((16..32).collect());
        let cdb = command(&pdu).cdb;
        assert_eq!((cdb.byte(15), cdb.byte(16), cdb.byte(31)), (0x7f, 16, 31));
    }
}
