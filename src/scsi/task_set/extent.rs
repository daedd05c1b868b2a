//! A run of blocks of a logical unit.

/// A run of blocks. Length zero touches nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Extent {
    /// First block.
    pub(crate) lba: u64,
    /// Number of blocks.
    pub(crate) blocks: u64,
}

impl Extent {
    /// The whole medium, whatever its size.
    pub(crate) const WHOLE: Extent = Extent { lba: 0, blocks: u64::MAX };

    /// From the first block of either to the last.
    pub(crate) fn hull(self, other: Extent) -> Extent {
        let lba = self.lba.min(other.lba);
        let end = |extent: Extent| extent.lba.saturating_add(extent.blocks);
        Extent { lba, blocks: end(self).max(end(other)) - lba }
    }

    pub(crate) fn overlaps(self, other: Extent) -> bool {
        self.lba < other.lba.saturating_add(other.blocks) && other.lba < self.lba.saturating_add(self.blocks)
    }
}
