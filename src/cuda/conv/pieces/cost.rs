//! What a sample costs on a GPU, in one transform and in several passes: tables of what was measured.

use super::Pieces;

/// What rows are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Samples {
    /// Rows of whole vectors of 16 bytes.
    AlignedBf16,
    AlignedF16,
    /// Others of bf16 or f16.
    Unaligned,
    /// f32.
    Full,
}

/// Tenths of a picosecond for each point of transforms of so many, on an H200.
pub(crate) struct Cost {
    /// In one transform: as pieces or rows of other lengths, and as rows of just that length.
    on_chip: &'static [(usize, u64, u64)],
    /// In several passes, or on clusters.
    long: &'static [(usize, u64)],
}

const ALIGNED_BF16: Cost = Cost {
    on_chip: &[
        (1024, 26, 24),
        (2048, 31, 28),
        (4096, 30, 27),
        (8192, 30, 26),
        (16384, 36, 30),
        (32768, 48, 33),
    ],
    long: &[
        (1 << 16, 42),
        (1 << 17, 61),
        (1 << 18, 69),
        (1 << 19, 75),
        (1 << 20, 74),
        (1 << 21, 85),
        (1 << 22, 99),
        (1 << 23, 110),
    ],
};

const ALIGNED_F16: Cost = Cost {
    on_chip: &[
        (1024, 28, 26),
        (2048, 40, 36),
        (4096, 40, 36),
        (8192, 40, 36),
        (16384, 50, 45),
        (32768, 60, 55),
    ],
    long: &[
        (1 << 16, 67),
        (1 << 17, 69),
        (1 << 18, 75),
        (1 << 19, 80),
        (1 << 20, 80),
        (1 << 21, 90),
        (1 << 22, 105),
        (1 << 23, 115),
    ],
};

const UNALIGNED: Cost = Cost {
    on_chip: &[
        (1024, 40, 40),
        (2048, 45, 45),
        (4096, 45, 45),
        (8192, 45, 45),
        (16384, 54, 54),
        (32768, 70, 70),
    ],
    long: &[
        (1 << 16, 80),
        (1 << 17, 80),
        (1 << 18, 85),
        (1 << 19, 90),
        (1 << 20, 90),
        (1 << 21, 100),
        (1 << 22, 115),
        (1 << 23, 125),
    ],
};

const FULL: Cost = Cost {
    on_chip: &[
        (1024, 36, 35),
        (2048, 42, 40),
        (4096, 45, 43),
        (8192, 51, 49),
        (16384, 58, 56),
    ],
    long: &[(1 << 15, 200), (1 << 24, 200)],
};

/// Pieces are to be so much cheaper, in percent: what was measured scatters.
const MARGIN: u64 = 110;

impl Cost {
    pub(crate) fn of(samples: Samples) -> &'static Cost {
        match samples {
            Samples::AlignedBf16 => &ALIGNED_BF16,
            Samples::AlignedF16 => &ALIGNED_F16,
            Samples::Unaligned => &UNALIGNED,
            Samples::Full => &FULL,
        }
    }

    /// Those of pieces.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = usize> {
        self.on_chip.iter().map(|&(size, ..)| size)
    }

    /// Of a row in pieces of `size` samples.
    pub(crate) fn of_pieces(&self, size: usize, pieces: &Pieces) -> u64 {
        let points = (size as u64).saturating_mul(pieces.count as u64);
        let of = |&&(that, ..): &&(usize, u64, u64)| that == size;
        let each = self.on_chip.iter().find(of).map(|&(_, part, _)| part);
        each.map_or(u64::MAX, |each| {
            points.saturating_mul(each).saturating_mul(MARGIN) / 100
        })
    }

    /// Of a row as a whole, where `is_there` says which sizes one transform can have.
    pub(crate) fn of_row(&self, length: usize, is_there: impl Fn(usize) -> bool) -> u64 {
        let on_chip = self.on_chip.iter();
        let shortest = on_chip.clone().next().map_or(0, |&(size, ..)| size);
        let on_chip = on_chip
            .filter(|&&(size, ..)| size >= length && is_there(size))
            .map(|&(size, part, whole)| (size, if size == length { whole } else { part }));
        let long = self.long.iter().filter(|&&(size, _)| size >= length);
        let least = self.long.first().map_or(0, |&(size, _)| size);
        let long = long.map(|&(_, each)| (length.next_power_of_two().max(least), each));
        match on_chip.chain(long).next() {
            // Shorter rows are not worth cutting.
            Some((size, _)) if size <= shortest => 0,
            Some((size, each)) => (size as u64).saturating_mul(each),
            None => u64::MAX,
        }
    }
}
