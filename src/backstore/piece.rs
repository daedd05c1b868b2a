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
    use super::*;

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
}
