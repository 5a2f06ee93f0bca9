//! What a sample costs on a GPU, in one transform and in several passes: tables of what was measured.

use super::Pieces;
use crate::cuda::conv::cluster_rows;

/// What rows are made of. Gates do not change what is cheaper.
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

/// Tenths of a picosecond for each point of transforms of so many, or of up to so many, on an H100: gated in f16 and
/// bf16, un-gated in f32. Pieces were measured at every size, rows as a whole up to 2^20 points;
/// what is beyond is extrapolated.
pub(crate) struct Cost {
    /// In one transform: as pieces or rows of other lengths, and as rows of just that length.
    on_chip: &'static [(usize, u64, u64)],
    /// In several passes, or on clusters.
    long: &'static [(usize, u64)],
}

const ALIGNED_BF16: Cost = Cost {
    on_chip: &[
        (1024, 31, 29),
        (2048, 36, 33),
        (4096, 31, 30),
        (8192, 33, 30),
        (16384, 38, 34),
        (32768, 50, 37),
    ],
    long: &[
        (1 << 16, 58),
        (1 << 17, 58),
        (3 << 16, 65),
        (1 << 18, 95),
        (5 << 16, 72),
        (1 << 20, 94),
        (1 << 21, 110),
        (1 << 22, 130),
        (1 << 23, 140),
    ],
};

const ALIGNED_F16: Cost = Cost {
    on_chip: &[
        (1024, 40, 38),
        (2048, 51, 48),
        (4096, 44, 42),
        (8192, 46, 43),
        (16384, 54, 50),
        (32768, 65, 62),
    ],
    long: &[
        (1 << 16, 131),
        (1 << 18, 114),
        (1 << 20, 109),
        (1 << 21, 120),
        (1 << 22, 135),
        (1 << 23, 145),
    ],
};

const UNALIGNED: Cost = Cost {
    on_chip: &[
        (1024, 69, 69),
        (2048, 87, 87),
        (4096, 86, 86),
        (8192, 94, 94),
        (16384, 100, 100),
        (32768, 118, 118),
    ],
    long: &[
        (1 << 16, 163),
        (1 << 18, 161),
        (1 << 20, 158),
        (1 << 21, 170),
        (1 << 22, 190),
        (1 << 23, 200),
    ],
};

const FULL: Cost = Cost {
    on_chip: &[
        (1024, 42, 41),
        (2048, 43, 42),
        (4096, 46, 45),
        (8192, 54, 52),
        (16384, 61, 60),
    ],
    long: &[
        (1 << 15, 150),
        (1 << 16, 166),
        (1 << 18, 183),
        (1 << 19, 240),
        (1 << 20, 295),
        (1 << 24, 300),
    ],
};

/// Pieces are to be so much cheaper, in percent: what was measured scatters.
const MARGIN: u64 = 110;

impl Cost {
    /// On a device whose blocks have `shared_memory_bytes`.
    pub(crate) fn of(samples: Samples, shared_memory_bytes: usize) -> Cost {
        match samples {
            Samples::AlignedBf16 if cluster_rows::recipe::fit(shared_memory_bytes) => ALIGNED_BF16,
            // Without clusters long rows of bf16 take the passes that those of f16 take.
            Samples::AlignedBf16 => Cost {
                long: ALIGNED_F16.long,
                ..ALIGNED_BF16
            },
            Samples::AlignedF16 => ALIGNED_F16,
            Samples::Unaligned => UNALIGNED,
            Samples::Full => FULL,
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
