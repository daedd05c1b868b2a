//! Large copies in pieces.
//!
//! A thread that has slept for long may use its processor for milliseconds before others have their turn, and
//! one that copies megabytes uses them. It gives way between two pieces, so that short commands of other
//! sessions wait for a piece and not for a command.

use std::ops::Range;

/// Bytes that are copied without giving way: some tens of microseconds.
pub const PIECE: usize = 128 << 10;

/// Calls `copy` with the pieces of `0..length` in order, up to the first that does not go on.
#[inline]
pub fn each<E>(length: usize, mut copy: impl FnMut(Range<usize>) -> Result<(), E>) -> Result<(), E> {
    let mut at = 0;
    while length - at > PIECE {
        copy(at..at + PIECE)?;
        at += PIECE;
        std::thread::yield_now();
    }
    copy(at..length)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::path::Path;

    use super::*;
    use crate::backstore::Backstore;
    use crate::backstore::buffer::BufferPool;
    use crate::backstore::file::{FileOptions, FileStore};
    use crate::backstore::mapped::MappedStore;
    use crate::backstore::ram::RamStore;

    fn pieces(length: usize) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        let whole: Result<(), ()> = each(length, |piece| {
            all.push((piece.start, piece.end));
            Ok(())
        });
        assert_eq!(whole, Ok(()));
        all
    }

    #[test]
    fn pieces_are_in_order_and_none_is_longer_than_one() {
        assert_eq!(pieces(0), [(0, 0)]);
        assert_eq!(pieces(PIECE), [(0, PIECE)]);
        let end = 2 * PIECE + 1;
        assert_eq!(pieces(end), [(0, PIECE), (PIECE, 2 * PIECE), (2 * PIECE, end)]);
    }

    #[test]
    fn the_first_that_fails_is_the_last() {
        let mut count = 0;
        let failed = each(4 * PIECE, |_| {
            count += 1;
            if count == 2 { Err("no") } else { Ok(()) }
        });
        assert_eq!((failed, count), (Err("no"), 2));
    }

    const BYTES: usize = 2 << 20;
    const OPTIONS: FileOptions = FileOptions {
        block_size: 512,
        bytes: Some(BYTES as u64),
        read_only: false,
        write_through: false,
        nv_cache: false,
        zero_copy: false,
        direct: false,
        thin: None,
    };

    /// A store of `BYTES` bytes of each kind that copies in pieces.
    fn stores(folder: &Path) -> Vec<(String, Box<dyn Backstore>)> {
        let path = |kind: &str| folder.join(format!("scstu-piece-{kind}-{}", std::process::id()));
        let mut all: Vec<(String, Box<dyn Backstore>)> =
            vec![("ram".to_owned(), Box::new(RamStore::new(512, BYTES as u64)))];
        let mapped = MappedStore::open(&path("mapped"), 512, Some(BYTES as u64)).unwrap();
        all.push((format!("mapped in {folder:?}"), Box::new(mapped)));
        for direct in [false, true] {
            let path = path(if direct { "direct" } else { "file" });
            std::fs::write(&path, vec![0; BYTES]).unwrap();
            // Not every file system goes past the page cache.
            let store = FileStore::open(&path, FileOptions { direct, ..OPTIONS });
            std::fs::remove_file(&path).unwrap();
            match store {
                Ok(store) => all.push((format!("direct {direct} in {folder:?}"), Box::new(store))),
                Err(error) => assert!(direct, "{error:?}"),
            }
        }
        std::fs::remove_file(path("mapped")).unwrap();
        all
    }

    #[test]
    fn every_store_moves_the_same_bytes_whatever_pieces_they_make() {
        let pool = BufferPool::new(16 << 20);
        let shared = Path::new("/dev/shm");
        let folders = [std::env::temp_dir()].into_iter().chain(shared.is_dir().then(|| shared.to_owned()));
        for (name, store) in folders.flat_map(|folder| stores(&folder)) {
            let mut model = vec![0; BYTES];
            let mut random = 1u64;
            let mut below = |limit: usize| {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                usize::try_from(random >> 33).unwrap() % limit
            };
            for step in 0..120 {
                let lengths = [512, PIECE - 512, PIECE, PIECE + 512, 2 * PIECE, 5 * PIECE + 1024];
                let length = lengths[below(lengths.len())];
                let at = below((BYTES - length) / 512 + 1) * 512;
                let mut buffer = pool.get(length).unwrap();
                let range = at..at + length;
                if below(2) == 0 {
                    buffer.fill_with(|| u8::try_from(below(256)).unwrap());
                    store.write(at as u64, &buffer, step % 16 == 0).unwrap();
                    model[range].copy_from_slice(&buffer);
                    continue;
                }
                buffer.fill(0x5a);
                store.read(at as u64, &mut buffer).unwrap();
                assert!(*buffer == model[range.clone()], "{name}, step {step}: {length} bytes at {at}");
                buffer.fill(0x5a);
                if store.try_read(at as u64, &mut buffer).unwrap_or(false) {
                    assert!(*buffer == model[range], "{name}, step {step}: {length} cached bytes at {at}");
                }
            }
        }
    }

    #[test]
    fn a_piece_that_cannot_be_read_fails_all() {
        let shared = Path::new("/dev/shm");
        let folders = [std::env::temp_dir()].into_iter().chain(shared.is_dir().then(|| shared.to_owned()));
        for folder in folders {
            let path = folder.join(format!("scstu-piece-short-{}", std::process::id()));
            std::fs::write(&path, vec![7; BYTES]).unwrap();
            let store = FileStore::open(&path, FileOptions { bytes: None, ..OPTIONS }).unwrap();
            // Someone else makes it shorter: from the second piece on there is nothing, or half of it.
            for left in [PIECE, PIECE + PIECE / 2] {
                OpenOptions::new().write(true).open(&path).unwrap().set_len(left as u64).unwrap();
                let mut into = vec![0; 3 * PIECE];
                assert!(store.read(0, &mut into).is_err(), "{left} bytes in {folder:?}");
                assert!(!store.try_read(0, &mut into).unwrap_or(false), "{left} bytes in {folder:?}");
                assert!(store.read(0, &mut into[..PIECE]).is_ok());
                OpenOptions::new().write(true).open(&path).unwrap().set_len(BYTES as u64).unwrap();
            }
            std::fs::remove_file(&path).unwrap();
        }
    }
}
