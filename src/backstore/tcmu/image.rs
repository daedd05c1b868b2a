//! Image files, as far as their headers tell what a handler does not look at: the size, and what handler_qcow
//! of tcmu-runner 1.5.4 would damage.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::bytes::{get_u32, get_u64};

/// Bytes of a header of qcow2, version 3, that are looked at.
const HEADER_BYTES: usize = 80;
const MAGIC: &[u8; 4] = b"QFI\xfb";

/// A header of qcow or qcow2 (QEMU, docs/interop/qcow2.txt).
struct Header([u8; HEADER_BYTES]);

impl Header {
    fn read(path: &Path) -> Option<Header> {
        let mut header = [0; HEADER_BYTES];
        let mut file = File::open(path).ok()?.take(HEADER_BYTES as u64);
        let mut filled = 0;
        while let Some(count) = file.read(&mut header[filled..]).ok().filter(|count| *count > 0) {
            filled += count;
        }
        header.starts_with(MAGIC).then_some(Header(header))
    }

    fn version(&self) -> u32 {
        get_u32(&self.0, 4)
    }

    /// What there is that the handler does not know, or gets wrong when it writes.
    fn danger(&self, is_written: bool) -> Option<&'static str> {
        let is_2 = self.version() >= 2;
        // Dirty, corrupt, external data file, compression type, extended L2 entries.
        if self.version() >= 3 && get_u64(&self.0, 72) != 0 {
            return Some("it has incompatible features, which the handler does not look at");
        }
        if is_2 && get_u32(&self.0, 32) != 0 {
            return Some("it is encrypted");
        }
        if is_written && get_u64(&self.0, 8) != 0 {
            return Some("it has a backing file: a write would lose the rest of its cluster");
        }
        if is_written && is_2 && get_u32(&self.0, 60) != 0 {
            return Some("it has snapshots, which a write would damage");
        }
        None
    }
}

/// The size of the disk in an image file: of a qcow or qcow2 image what its header says, else its length.
pub(super) fn size(path: &Path) -> Option<u64> {
    match Header::read(path) {
        Some(header) => Some(get_u64(&header.0, 24)),
        None => File::open(path).ok()?.seek(SeekFrom::End(0)).ok(),
    }
}

/// Makes a file as long as its device: handlers read on for ever where a file ends before it.
pub(super) fn fill_up(path: &Path, bytes: u64) -> std::io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() >= bytes {
        return Ok(());
    }
    std::fs::OpenOptions::new().write(true).open(path)?.set_len(bytes)
}

/// Why handler_qcow must not have this image.
pub(super) fn danger(path: &Path, is_written: bool) -> Option<&'static str> {
    Header::read(path)?.danger(is_written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, change: impl FnOnce(&mut [u8; HEADER_BYTES])) -> Header {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[7] = version;
        change(&mut bytes);
        Header(bytes)
    }

    #[test]
    fn what_would_be_damaged_is_seen_in_the_header() {
        for version in 1..=3 {
            assert_eq!(header(version, |_| {}).danger(true), None);
        }
        let with = |version: u8, at: usize| header(version, move |bytes| bytes[at] = 1);
        for (version, at, words, also_read) in [
            (1, 15, "backing file", false),
            (2, 15, "backing file", false),
            (3, 15, "backing file", false),
            (2, 63, "snapshots", false),
            (2, 35, "encrypted", true),
            (3, 79, "incompatible", true),
        ] {
            let image = with(version, at);
            assert!(image.danger(true).unwrap().contains(words), "{version} {at}");
            assert_eq!(image.danger(false).is_some(), also_read, "{version} {at}");
        }
        assert_eq!(with(2, 79).danger(true), None, "version 2 has no such field");
    }
}
