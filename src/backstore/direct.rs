//! What a file takes past the page cache: multiples of the sectors below its file system, not of 512 bytes.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::backstore::registry::OpenError;
use crate::sys::file::{direct_alignment, read_at_most};
use crate::sys::{ALIGNMENT, AlignedMemory};

/// Least alignment: the smallest sector.
const LEAST: usize = 512;

/// Multiples of how many bytes the file takes; `None` if no multiple of up to [`ALIGNMENT`] bytes.
pub(super) fn alignment(file: &File) -> Option<usize> {
    let mut memory = AlignedMemory::zeroed(ALIGNMENT);
    // A position and a length that do not fit are refused alike.
    choose(direct_alignment(file), |length| read_at_most(file, &mut memory[..length], 0) != Err(libc::EINVAL))
}

/// What open(2) says of a file system without O_DIRECT, in words.
pub(super) fn unavailable(path: &Path, error: &io::Error) -> Option<OpenError> {
    let text = format!(
        "{}: its file system has no O_DIRECT, which o_direct=1 and vdisk_blockio want: vdisk_fileio without \
         o_direct serves it",
        path.display()
    );
    (error.raw_os_error() == Some(libc::EINVAL)).then(|| OpenError::new(libc::EINVAL, text))
}

/// What the file system says of offsets, and of memory, counts; where it says nothing, what can be read.
fn choose(told: Option<(u32, u32)>, mut can_read: impl FnMut(usize) -> bool) -> Option<usize> {
    let fits = |bytes: usize| bytes.is_power_of_two() && bytes <= ALIGNMENT;
    if let Some((offset, memory)) = told {
        let [offset, memory] = [offset, memory].map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        return Some(offset.max(LEAST)).filter(|offset| fits(*offset) && fits(memory));
    }
    let all = std::iter::successors(Some(LEAST), |last| last.checked_mul(2));
    all.take_while(|bytes| fits(*bytes)).find(|bytes| can_read(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_systems_word_counts_and_a_read_where_there_is_none() {
        for (told, found) in [
            ((512, 512), Some(512)),
            ((4096, 512), Some(4096)),
            ((4096, 4), Some(4096)),
            ((1, 1), Some(512)),
            ((8192, 512), None),
            ((512, 8192), None),
            ((768, 512), None),
        ] {
            assert_eq!(choose(Some(told), |_| panic!("nothing is read")), found, "{told:?}");
        }
        for (least, found) in [(512, Some(512)), (2048, Some(2048)), (4096, Some(4096)), (8192, None)] {
            let mut tried = Vec::new();
            let chosen = choose(None, |length| {
                tried.push(length);
                length % least == 0
            });
            assert_eq!(chosen, found, "{least}");
            assert_eq!(tried.first(), Some(&512));
        }
    }
}
