//! Which kernel convolves rows of f16 or bf16 on a device: pure data, chosen from the
//! device's limits by a pure function.

use crate::conv::LagWindow;

/// How the warps of a block share rows. Each is one `cuda/*.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::enum_variant_names)] // the names of the files
pub(crate) enum Family {
    /// Several rows of one channel on a warp.
    TileRows,
    /// A row in the registers of one warp.
    WarpRows,
    /// A row on up to 16 warps, through shared memory.
    BlockRows,
    /// A row on a cluster of two blocks, with the tables and spectra of `BlockRows`.
    PairRows,
}

impl Family {
    /// The name of its `.cu` file, with which its kernels' names begin.
    pub(crate) fn module(self) -> &'static str {
        match self {
            Family::TileRows => "tile_rows",
            Family::WarpRows => "warp_rows",
            Family::BlockRows => "block_rows",
            Family::PairRows => "pair_rows",
        }
    }
}

/// What a transform of P points multiplies polynomials modulo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// xᴾ − i: the wanted part is real, what would wrap around imaginary. Serves every window of lags.
    RightAngle,
    /// xᴾ − 1: circular convolutions of P points, with no imaginary part to spend precision on.
    Cyclic,
}

impl Form {
    /// The weight of sample n is `exp(2πi · weight · n / P)`.
    pub(crate) fn weight(self) -> f64 {
        match self {
            Form::RightAngle => 0.25,
            Form::Cyclic => 0.0,
        }
    }
}

/// How a kernel takes rows, as `Mode` in `cuda/samples.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Whole,
    Aligned,
    General,
}

/// The transform of `size = first_points · second_points · 16 · butterfly_points` complex points
/// that a row takes, and the blocks that do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct HalfRecipe {
    pub(crate) family: Family,
    pub(crate) form: Form,
    /// Whether sums and butterflies are in f32 for bf16 too: where lags of both signs leave half of what the
    /// right-angle form computes in the imaginary part, rounding errors weigh 1.4 times more.
    pub(crate) precise: bool,
    /// The longest row: the number P of complex points of the transform.
    pub(crate) size: usize,
    /// Points of the first pass of [`Family::BlockRows`]; 1 in the others.
    pub(crate) first_points: usize,
    /// Points of the register butterfly.
    pub(crate) butterfly_points: usize,
    /// Warps that work on one row.
    pub(crate) warps_per_row: usize,
    /// Rows that a block works on at the same time.
    pub(crate) rows_in_flight: usize,
    /// Rows of one channel that a warp takes without and with gates ([`Family::TileRows`]).
    pub(crate) rows_per_warp: [usize; 2],
    /// Blocks that a multiprocessor holds.
    pub(crate) blocks_per_multiprocessor: usize,
    /// Dynamic shared memory of a block.
    pub(crate) shared_bytes: usize,
}

/// A line of the table of sizes; the `.cu` files have the same.
struct Size {
    family: Family,
    size: usize,
    first_points: usize,
    butterfly_points: usize,
    warps_per_row: usize,
    /// With shared memory to spare.
    rows_in_flight: usize,
    rows_per_warp: [usize; 2],
    blocks_per_multiprocessor: usize,
}

#[rustfmt::skip]
const SIZES: [Size; 9] = [
    tile(  128,        [8, 4]),
    tile(  256,        [4, 2]),
    warp(  512, 2, 4, 5),
    warp( 1024, 4, 4, 4),
    warp( 2048, 8, 4, 4),
    block( 4096, 4, 4, 8),
    block( 8192, 8, 4, 4),
    block(16384, 16, 4, 2),
    block(32768, 16, 8, 1),
];

const fn tile(size: usize, rows_per_warp: [usize; 2]) -> Size {
    Size {
        family: Family::TileRows,
        size,
        first_points: 1,
        butterfly_points: 1,
        warps_per_row: 1,
        rows_in_flight: 4,
        rows_per_warp,
        blocks_per_multiprocessor: 8,
    }
}

const fn warp(
    size: usize,
    butterfly_points: usize,
    rows_in_flight: usize,
    blocks_per_multiprocessor: usize,
) -> Size {
    Size {
        family: Family::WarpRows,
        size,
        first_points: 1,
        butterfly_points,
        warps_per_row: 1,
        rows_in_flight,
        rows_per_warp: [1, 1],
        blocks_per_multiprocessor,
    }
}

const fn block(
    size: usize,
    first_points: usize,
    butterfly_points: usize,
    rows_in_flight: usize,
) -> Size {
    Size {
        family: Family::BlockRows,
        size,
        first_points,
        butterfly_points,
        warps_per_row: first_points * butterfly_points / 8,
        rows_in_flight,
        rows_per_warp: [1, 1],
        blocks_per_multiprocessor: 1,
    }
}

/// Bytes of one entry of a table: four words for each of 32 lanes.
pub(super) const ENTRY: usize = 32 * 16;

/// Entries of the tables of `cuda/block_rows.cuh`.
pub(super) const fn block_entries(first_points: usize, butterfly_points: usize) -> usize {
    4 * butterfly_points + 8 * first_points + 4 + 2 * butterfly_points
}

/// Shared memory of a block that works on so many of its rows at the same time.
pub(super) fn block_shared_bytes(
    first_points: usize,
    butterfly_points: usize,
    rows_in_flight: usize,
) -> usize {
    let size = 256 * first_points * butterfly_points;
    block(size, first_points, butterfly_points, rows_in_flight).shared_bytes(rows_in_flight)
}

impl Size {
    /// Bytes of tables that a block keeps in shared memory.
    fn table_bytes(&self) -> usize {
        let entries = match self.family {
            Family::TileRows => 0,
            Family::WarpRows => 14 + 2 * self.butterfly_points,
            Family::BlockRows | Family::PairRows => {
                block_entries(self.first_points, self.butterfly_points)
            }
        };
        entries * ENTRY
    }

    /// Bytes through which the warps of one row exchange it.
    fn exchange_bytes(&self) -> usize {
        match self.family {
            Family::BlockRows => 4 * self.size,
            _ => 0,
        }
    }

    /// Bytes of the flags of each row in flight, and what goes before them.
    fn flag_bytes(&self, rows_in_flight: usize) -> usize {
        match self.family {
            Family::TileRows => 0,
            Family::WarpRows => 8 * rows_in_flight,
            Family::BlockRows | Family::PairRows => 16 + 8 * rows_in_flight,
        }
    }

    fn shared_bytes(&self, rows_in_flight: usize) -> usize {
        self.table_bytes()
            + rows_in_flight * self.exchange_bytes()
            + self.flag_bytes(rows_in_flight)
    }

    /// The recipe with as many rows in flight as `shared_memory_bytes` have room for.
    fn fitted(&self, shared_memory_bytes: usize) -> Option<HalfRecipe> {
        let rows_in_flight = (1..=self.rows_in_flight)
            .rev()
            .find(|&rows| self.shared_bytes(rows) <= shared_memory_bytes)?;
        Some(HalfRecipe {
            family: self.family,
            form: Form::RightAngle,
            precise: false,
            size: self.size,
            first_points: self.first_points,
            butterfly_points: self.butterfly_points,
            warps_per_row: self.warps_per_row,
            rows_in_flight,
            rows_per_warp: self.rows_per_warp,
            blocks_per_multiprocessor: self.blocks_per_multiprocessor,
            shared_bytes: self.shared_bytes(rows_in_flight),
        })
    }
}

impl HalfRecipe {
    /// The recipe for rows of `length` samples on a device whose blocks have
    /// `shared_memory_bytes`; none when the row is too long for it.
    pub(crate) fn choose(length: usize, shared_memory_bytes: usize) -> Option<Self> {
        SIZES
            .iter()
            .find(|size| size.size >= length)?
            .fitted(shared_memory_bytes)
    }

    /// The same for kernels with these lags: circular convolutions of just the size of the
    /// transform are done as such.
    pub(crate) fn for_window(self, window: &LagWindow) -> Self {
        let wraps = !window.backward.is_empty();
        let cyclic = wraps && window.period == self.size;
        HalfRecipe {
            form: if cyclic {
                Form::Cyclic
            } else {
                Form::RightAngle
            },
            precise: wraps && !cyclic,
            ..self
        }
    }

    /// The kernel on clusters of two blocks that does what this one does for whole rows, with sums in f16.
    pub(crate) fn paired(&self, shared_memory_bytes: usize) -> Option<Self> {
        let points = self.butterfly_points;
        if self.family != Family::BlockRows || self.first_points != 16 || self.precise {
            return None;
        }
        let rows_in_flight = 16 / points;
        // Tables of half of the rows and of the forward matrices alone; three regions of 4096 bytes a warp;
        // barriers, flags and two words for each row in flight.
        let tables = (2 * points + 8 * 4 + 2 + 2 * points) * ENTRY;
        let shared_bytes = 16 * 3 * 4096 + tables + rows_in_flight * (24 + 8 + 8) + 16;
        (shared_bytes <= shared_memory_bytes).then_some(Self {
            family: Family::PairRows,
            warps_per_row: points,
            rows_in_flight,
            shared_bytes,
            ..*self
        })
    }

    /// Points of the digit Y.
    #[cfg(test)]
    pub(crate) fn second_points(&self) -> usize {
        self.size / (16 * self.first_points * self.butterfly_points)
    }

    pub(crate) fn threads(&self) -> usize {
        32 * self.warps_per_row * self.rows_in_flight
    }

    /// Blocks to launch for `batch` rows of each of `channels` channels.
    pub(crate) fn blocks(
        &self,
        batch: usize,
        channels: usize,
        gated: bool,
        multiprocessors: usize,
    ) -> usize {
        match self.family {
            Family::TileRows => {
                let warps = batch.div_ceil(self.rows_per_warp[usize::from(gated)]) * channels;
                warps.div_ceil(self.rows_in_flight)
            }
            // Two blocks for a row at a time.
            Family::PairRows => 2 * (batch * channels).min(multiprocessors / 2),
            // Each block takes a share of the rows. Few rows are spread over all multiprocessors.
            _ => (batch * channels).min(multiprocessors * self.blocks_per_multiprocessor),
        }
    }

    /// How rows of `length` samples are taken, or pieces of rows where there is none; `vectors` says whether
    /// all begin at multiples of 16 bytes and hold whole vectors of 16 bytes.
    pub(crate) fn mode(&self, vectors: bool, length: Option<usize>) -> Mode {
        match (vectors, self.family) {
            (true, _) if length == Some(self.size) => Mode::Whole,
            (true, Family::WarpRows | Family::BlockRows) if !self.precise => Mode::Aligned,
            _ => Mode::General,
        }
    }

    /// The kernel for a dtype ("bf16", "bf16_precise" or "f16"), gates, and a way to take rows.
    pub(crate) fn function(&self, dtype: &str, gated: bool, mode: Mode) -> String {
        format!(
            "{}_p{}_{dtype}_{}_{}",
            self.family.module(),
            self.size,
            if gated { "gated" } else { "plain" },
            match mode {
                Mode::Whole => "whole",
                Mode::Aligned => "aligned",
                Mode::General => "general",
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::Semantics;

    /// What blocks may ask for: RTX 3090 and 4090, A100, H100 and H200.
    const CARDS: [usize; 3] = [99 << 10, 163 << 10, 227 << 10];

    #[test]
    fn rows_take_the_next_size() {
        for (length, size) in [
            (1, 128),
            (128, 128),
            (129, 256),
            (4097, 8192),
            (32768, 32768),
        ] {
            let recipe = HalfRecipe::choose(length, 227 << 10).unwrap();
            assert_eq!(recipe.size, size, "{length}");
        }
        assert_eq!(HalfRecipe::choose(32769, 227 << 10), None);
    }

    #[test]
    fn digits_make_up_the_size_and_blocks_fit() {
        for shared in CARDS {
            for size in SIZES.iter().filter_map(|size| size.fitted(shared)) {
                let digits = size.first_points * 16 * size.second_points() * size.butterfly_points;
                assert_eq!(digits, size.size);
                assert!(size.shared_bytes <= shared, "{size:?}");
                assert!(size.threads() <= 512, "{size:?}");
            }
        }
    }

    #[test]
    fn smaller_cards_hold_fewer_rows_in_flight() {
        let recipe = |length, card| HalfRecipe::choose(length, card);
        let [small, middle, large] = CARDS;
        let rows = |length, card| recipe(length, card).map(|recipe| recipe.rows_in_flight);
        assert_eq!(rows(4096, large), Some(8));
        assert_eq!(rows(4096, small), Some(4));
        assert_eq!(rows(8192, large), Some(4));
        assert_eq!(rows(8192, small), Some(1));
        assert_eq!(rows(16384, middle), Some(1));
        assert_eq!(rows(16384, small), None);
        assert_eq!(rows(32768, large), Some(1));
        assert_eq!(rows(32768, middle), None);
    }

    #[test]
    fn few_rows_are_spread_over_the_multiprocessors() {
        let recipe = HalfRecipe::choose(16384, 227 << 10).unwrap();
        assert_eq!(recipe.blocks(1, 128, true, 132), 128);
        assert_eq!(recipe.blocks(64, 768, true, 132), 132);
        let recipe = HalfRecipe::choose(100, 227 << 10).unwrap();
        assert_eq!(recipe.blocks(3, 10, false, 132), 3);
    }

    #[test]
    fn large_cards_share_long_rows_between_two_blocks() {
        let paired = |length, card| {
            let recipe = HalfRecipe::choose(length, 227 << 10)?;
            recipe.paired(card)
        };
        let recipe = paired(32768, 227 << 10).unwrap();
        assert_eq!(
            recipe.function("bf16", true, Mode::Whole),
            "pair_rows_p32768_bf16_gated_whole"
        );
        assert_eq!(recipe.threads(), 512);
        assert_eq!(recipe.blocks(64, 768, true, 132), 132);
        assert_eq!(recipe.blocks(1, 3, true, 132), 6);
        assert_eq!(paired(16384, 227 << 10).unwrap().threads(), 512);
        assert_eq!(paired(16384, 163 << 10), None);
        assert_eq!(paired(8192, 227 << 10), None);
    }

    #[test]
    fn wrapping_kernels_of_the_transforms_size_are_cyclic() {
        let form = |fft_size, length, taps| {
            let semantics = Semantics::Circular { fft_size };
            HalfRecipe::choose(length, 227 << 10)
                .unwrap()
                .for_window(&LagWindow::new(semantics, length, taps))
                .form
        };
        assert_eq!(form(4096, 4096, 4096), Form::Cyclic);
        assert_eq!(form(4096, 2100, 4096), Form::Cyclic);
        assert_eq!(form(4096, 2048, 4096), Form::RightAngle);
        assert_eq!(form(4095, 4095, 4095), Form::RightAngle);
        assert_eq!(form(4096, 2100, 1000), Form::RightAngle); // nothing wraps around
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn every_kernel_is_compiled() {
        use crate::cuda::ptx::{choose, PTX};
        for size in SIZES.iter().filter_map(|size| size.fitted(227 << 10)) {
            if let Some(paired) = size.paired(227 << 10) {
                for gated in [false, true] {
                    let name = paired.function("bf16", gated, Mode::Whole);
                    choose(PTX, paired.family.module(), &name, 1000).unwrap();
                }
            }
            for (dtype, precise) in [("bf16", false), ("bf16", true), ("f16", false)] {
                let size = HalfRecipe { precise, ..size };
                let dtype = if precise { "bf16_precise" } else { dtype };
                for gated in [false, true] {
                    for (vectors, length) in [(true, size.size), (true, 8), (false, 8)] {
                        let mode = size.mode(vectors, Some(length));
                        let name = size.function(dtype, gated, mode);
                        choose(PTX, size.family.module(), &name, 1000).unwrap();
                    }
                }
            }
        }
    }
}
