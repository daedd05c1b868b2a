use super::*;

/// An EXTENDED COPY (LID1) list with these descriptors.
fn list(cscds: &[[u8; 32]], segments: &[Vec<u8>]) -> Vec<u8> {
    let mut list = vec![0; 16];
    list[0] = 7;
    list[2..4].copy_from_slice(&u16::try_from(cscds.len() * 32).unwrap().to_be_bytes());
    list.extend(cscds.iter().flatten());
    let length = u32::try_from(segments.iter().map(Vec::len).sum::<usize>()).unwrap();
    list[8..12].copy_from_slice(&length.to_be_bytes());
    list.extend(segments.iter().flatten());
    list
}

fn cscd() -> [u8; 32] {
    let mut cscd = [0; 32];
    cscd[0] = IDENTIFICATION;
    cscd[4..8].copy_from_slice(&[1, 3, 0, 8]);
    cscd[8..16].copy_from_slice(&[0x30, 1, 2, 3, 4, 5, 6, 7]);
    cscd[30] = 2;
    cscd
}

fn segment() -> Vec<u8> {
    let mut segment = vec![0; 28];
    segment[0] = BLOCK_TO_BLOCK;
    segment[3] = 0x18;
    segment[11] = 9;
    segment[19] = 1;
    segment[27] = 2;
    segment
}

fn refused(list: &[u8]) -> u16 {
    Request::parse(Form::Lid1, list).unwrap_err().code
}

#[test]
fn spc_6_4_a_list_is_read() {
    let request = Request::parse(Form::Lid1, &list(&[cscd()], &[segment()])).unwrap().unwrap();
    assert_eq!((request.identifier, request.is_remembered), (Some(7), true));
    let cscd = &request.cscds[0];
    assert_eq!((cscd.code_set, cscd.kind, cscd.block_length), (1, 3, 512));
    assert_eq!(cscd.designator, [0x30, 1, 2, 3, 4, 5, 6, 7]);
    let expected = Segment {
        source: 0,
        destination: 0,
        amount: Amount::Blocks { count: 9, of_destination: false },
        lba: (1, 2),
        offset: (0, 0),
        at: 48,
    };
    assert_eq!(request.segments, [expected]);
    assert_eq!(Request::parse(Form::Lid1, &[]), Ok(None));
}

#[test]
fn spc_6_5_the_long_form_has_its_header_checked() {
    let mut long = vec![0; 48];
    long[0] = 1;
    long[3] = 0x20;
    long[15] = 1;
    long[16] = 0xff;
    long[20..24].copy_from_slice(&[1, 2, 3, 4]);
    long[43] = 32;
    long[45] = 28;
    long.extend(cscd());
    long.extend(segment());
    let request = Request::parse(Form::Lid4, &long).unwrap().unwrap();
    assert_eq!((request.identifier, request.is_immediate), (Some(0x0102_0304), true));
    assert_eq!(request.segments[0].at, 80);
    for at in [0, 3, 16] {
        let mut broken = long.clone();
        broken[at] ^= 1;
        assert_eq!(Request::parse(Form::Lid4, &broken).unwrap_err().code, 0x2600, "byte {at}");
    }
    for length in 1..long.len() {
        assert_eq!(Request::parse(Form::Lid4, &long[..length]).unwrap_err().code, 0x1a00);
    }
}

#[test]
fn spc_6_4_lists_that_lie_about_their_length() {
    let good = list(&[cscd()], &[segment()]);
    for length in 1..good.len() {
        assert_eq!(refused(&good[..length]), 0x1a00, "{length} of {} bytes", good.len());
    }
    for (at, bytes, code) in [
        (2, vec![0xff, 0xff], 0x1a00),
        (8, vec![0xff; 4], 0x1a00),
        (12, vec![0xff; 4], 0x1a00),
        (2, vec![0, 31], 0x2600),
        (8, vec![0, 0, 0, 27], 0x1a00),
        (8, vec![0, 0, 0, 3], 0x1a00),
        (50, vec![0, 0x17], 0x2600),
        (50, vec![0xff, 0xff], 0x2600),
        (48, vec![0x03], 0x2609),
        (16, vec![0xe0], 0x2607),
        (23, vec![0], 0x2600),
        (23, vec![21], 0x2600),
        (1, vec![0x08], 0x2600),
        (1, vec![0x18], 0x2600),
    ] {
        let mut broken = good.clone();
        broken[at..at + bytes.len()].copy_from_slice(&bytes);
        assert_eq!(refused(&broken), code, "{bytes:02x?} at {at}");
    }
    let mut inline = good.clone();
    inline[15] = 1;
    inline.push(0);
    assert_eq!(refused(&inline), 0x260b);
}

#[test]
fn spc_6_4_too_many_is_told_from_too_long() {
    assert_eq!(refused(&list(&[cscd(); MAX_CSCDS + 1], &[segment()])), 0x2606);
    assert_eq!(refused(&list(&[cscd()], &vec![segment(); MAX_SEGMENTS + 1])), 0x2608);
    assert_eq!(refused(&list(&[cscd()], &vec![segment(); 65535])), 0x1a00);
    assert!(Request::parse(Form::Lid1, &list(&[cscd(); MAX_CSCDS], &vec![segment(); MAX_SEGMENTS])).is_ok());
}

#[test]
fn no_bytes_make_it_panic() {
    let good = list(&[cscd()], &[segment()]);
    let mut seed = 1u32;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = seed as usize >> 8;
            let length = bytes.len();
            bytes[at % length] = u8::try_from(seed & 0xff).unwrap();
        }
        bytes.truncate(seed as usize >> 4 & 0x7f);
        let _ = Request::parse(Form::Lid1, &bytes);
        let _ = Request::parse(Form::Lid4, &bytes);
    }
}
