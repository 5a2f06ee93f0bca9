//! Which kernel computes a pointwise operation, and in what grid: pure data.

use crate::models::layers::Pointwise;
use crate::Error;
use candle_core::{DType, Result};

/// Threads of a block.
pub(super) const THREADS: usize = 256;
/// Blocks for each multiprocessor: enough to keep the memory busy.
const BLOCKS: usize = 16;
/// Lanes of a warp, which normalises one row.
const WARP: usize = 32;
/// The most that the second dimension of a grid counts.
const MOST_ROWS_OF_GRID: usize = 65535;

/// Sizes of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) rows: usize,
    /// Elements of a row of the result.
    pub(super) width: usize,
    /// Of the bias along the rows.
    pub(super) channels: usize,
    /// Elements that the second and third operand must have.
    pub(super) others: Vec<usize>,
    /// The shape of the result.
    pub(super) shape: Vec<usize>,
}

impl Geometry {
    /// That of an operation on `x` of shape `dims`.
    pub(super) fn new(operation: Pointwise, dims: &[usize]) -> Result<Self> {
        let refused = |expected: &str| Error::Shape {
            tensor: "x",
            expected: expected.to_string(),
            got: dims.to_vec(),
        };
        let Some((&last, leading)) = dims.split_last() else {
            return Err(refused("at least one dimension").into());
        };
        let count = dims.iter().product::<usize>();
        if count == 0 {
            return Err(refused("at least one element").into());
        }
        let channels = leading.last().copied().unwrap_or(1);
        let mut shape = dims.to_vec();
        let rows = count / last;
        let (width, others) = match operation {
            Pointwise::BiasGelu => (last, vec![last]),
            Pointwise::GatedGelu => {
                if !last.is_multiple_of(2) {
                    return Err(refused("(…, 2D)").into());
                }
                if let Some(width) = shape.last_mut() {
                    *width = last / 2;
                }
                (last / 2, vec![])
            }
            Pointwise::Residual => (last, vec![count, last]),
            Pointwise::LayerNorm { .. } => (last, vec![last, last]),
            Pointwise::ChannelBias | Pointwise::Sine => (last, vec![channels]),
            Pointwise::Decay { .. } => (last, vec![rows, last]),
            Pointwise::Leading { count } => (last, vec![channels.saturating_mul(count)]),
        };
        Ok(Self {
            rows,
            width,
            channels,
            others,
            shape,
        })
    }
}

/// The name of a dtype in those of kernels.
fn name(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F32 => Some("f32"),
        DType::F16 => Some("f16"),
        DType::BF16 => Some("bf16"),
        _ => None,
    }
}

/// The kernel for operands of the given dtypes that takes `vector` elements at once.
pub(super) fn function(operation: Pointwise, dtypes: &[DType], vector: usize) -> Result<String> {
    let (stem, both) = match operation {
        Pointwise::BiasGelu => ("bias_gelu", false),
        Pointwise::GatedGelu => ("gated_gelu", false),
        Pointwise::Residual => ("residual", true),
        Pointwise::LayerNorm { .. } => ("layer_norm", true),
        Pointwise::ChannelBias => ("channel_bias", false),
        Pointwise::Sine => ("sine", false),
        Pointwise::Decay { .. } => ("decay", false),
        Pointwise::Leading { .. } => ("leading", true),
    };
    let together = |x: &str, second: &str| match operation {
        Pointwise::Leading { .. } => second == "f32",
        _ => x == second || (both && x == "f32"),
    };
    let f32_only = matches!(operation, Pointwise::Sine | Pointwise::Decay { .. });
    let found = match *dtypes {
        [x] => name(x).map(str::to_string),
        [x, second, ref rest @ ..] if rest.iter().all(|&third| third == second) => {
            match (name(x), name(second)) {
                (Some(x), Some(second)) if together(x, second) => Some(match both {
                    true => format!("{x}_{second}"),
                    false => x.to_string(),
                }),
                _ => None,
            }
        }
        _ => None,
    };
    match found {
        Some(types) if !f32_only || types == "f32" => {
            Ok(format!("pointwise_{stem}_{types}_by_{vector}"))
        }
        _ => Err(Error::DType {
            tensor: "x",
            expected: "f32, f16 or bf16, the same for all operands or f32 for the first one"
                .to_string(),
            got: dtypes.first().copied().unwrap_or(DType::F32),
        }
        .into()),
    }
}

/// How many elements a thread takes at once: what divides the rows, and where each operand, given
/// as its address and the bytes of an element, begins at a multiple of a vector's size.
pub(super) fn vector(width: usize, operands: &[(u64, usize)]) -> usize {
    let fits = |vector: usize| {
        let aligned =
            |&(address, bytes): &(u64, usize)| address.is_multiple_of((vector * bytes) as u64);
        width.is_multiple_of(vector) && operands.iter().all(aligned)
    };
    widest(fits)
}

/// The longest vector that there are kernels for and that fits.
fn widest(fits: impl Fn(usize) -> bool) -> usize {
    [8, 4, 2]
        .into_iter()
        .find(|&vector| fits(vector))
        .unwrap_or(1)
}

/// The most elements that a lane takes at once of a row of one warp, so that there are some for all
/// lanes.
pub(super) fn vector_of_warp(width: usize) -> usize {
    widest(|vector| vector <= width / WARP)
}

/// Blocks in both dimensions.
pub(super) fn grid(
    operation: Pointwise,
    geometry: &Geometry,
    vector: usize,
    multiprocessors: usize,
) -> (u32, u32) {
    let most = BLOCKS * multiprocessors.max(1);
    let across = geometry.width / vector;
    let (x, y) = match operation {
        Pointwise::LayerNorm { .. } => {
            let blocks = geometry.rows.div_ceil(THREADS / WARP);
            (blocks.min(most), 1)
        }
        Pointwise::Leading { count } => {
            let samples = geometry.rows.saturating_mul(count.min(geometry.width));
            (samples.div_ceil(THREADS).min(most), 1)
        }
        Pointwise::BiasGelu | Pointwise::GatedGelu | Pointwise::Residual => {
            let vectors = geometry.rows.saturating_mul(across);
            (vectors.div_ceil(THREADS).min(most), 1)
        }
        Pointwise::ChannelBias | Pointwise::Sine | Pointwise::Decay { .. } => {
            let rows = geometry.rows.min(MOST_ROWS_OF_GRID);
            let blocks = across.div_ceil(THREADS);
            (blocks.min(most.div_ceil(rows.max(1))), rows)
        }
    };
    (x.max(1) as u32, y.max(1) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_of_a_gate_is_half_as_wide() {
        let geometry = Geometry::new(Pointwise::GatedGelu, &[2, 5, 12]).unwrap();
        assert_eq!((geometry.rows, geometry.width), (10, 6));
        assert_eq!(geometry.shape, [2, 5, 6]);
        assert!(Geometry::new(Pointwise::GatedGelu, &[3]).is_err());
    }

    #[test]
    fn a_bias_of_channels_goes_along_the_rows() {
        let geometry = Geometry::new(Pointwise::ChannelBias, &[2, 5, 12]).unwrap();
        assert_eq!((geometry.rows, geometry.width), (10, 12));
        assert_eq!((geometry.channels, geometry.others), (5, vec![5]));
        let decay = Geometry::new(Pointwise::Decay { shift: 0.0 }, &[5, 12]).unwrap();
        assert_eq!(decay.others, [5, 12]);
    }

    #[test]
    fn nothing_has_no_geometry() {
        for dims in [&[][..], &[0], &[3, 0]] {
            assert!(Geometry::new(Pointwise::BiasGelu, dims).is_err());
        }
    }

    #[test]
    fn vectors_divide_the_rows_and_are_aligned() {
        assert_eq!(vector(256, &[(4096, 4), (32, 4)]), 8);
        assert_eq!(vector(256, &[(4096, 4), (16, 2)]), 8);
        assert_eq!(vector(256, &[(4096, 4), (16, 4)]), 4);
        assert_eq!(vector(260, &[(4096, 4), (8, 2)]), 4);
        assert_eq!(vector(256, &[(4096 + 8, 4)]), 2);
        assert_eq!(vector(1_000_002, &[(4096, 4)]), 2);
        assert_eq!(vector(129, &[(4096, 4)]), 1);
        assert_eq!(vector(128, &[(4098, 2)]), 1);
    }

    #[test]
    fn all_lanes_have_a_part_of_a_row() {
        let found = [16, 64, 128, 192, 256, 1024].map(vector_of_warp);
        assert_eq!(found, [1, 2, 4, 4, 8, 8]);
    }

    #[test]
    fn kernels_have_the_types_of_their_operands() {
        let of = |operation, dtypes: &[DType]| function(operation, dtypes, 4).ok();
        let (f32, bf16) = (DType::F32, DType::BF16);
        assert_eq!(
            of(Pointwise::Residual, &[f32, bf16, bf16]).as_deref(),
            Some("pointwise_residual_f32_bf16_by_4")
        );
        assert_eq!(
            of(Pointwise::BiasGelu, &[bf16, bf16]).as_deref(),
            Some("pointwise_bias_gelu_bf16_by_4")
        );
        assert_eq!(of(Pointwise::Residual, &[bf16, f32, f32]), None);
        assert_eq!(of(Pointwise::Residual, &[f32, bf16, f32]), None);
        assert_eq!(of(Pointwise::BiasGelu, &[f32, bf16]), None);
        assert_eq!(of(Pointwise::Sine, &[bf16, bf16]), None);
        let leading = Pointwise::Leading { count: 2 };
        assert_eq!(
            of(leading, &[bf16, f32]).as_deref(),
            Some("pointwise_leading_bf16_f32_by_4")
        );
        assert_eq!(of(leading, &[bf16, bf16]), None);
        assert_eq!(of(Pointwise::GatedGelu, &[DType::F64]), None);
    }

    #[test]
    fn grids_are_no_larger_than_the_work_or_the_device() {
        let of = |operation, dims: &[usize], vector| {
            let geometry = Geometry::new(operation, dims).unwrap();
            grid(operation, &geometry, vector, 132)
        };
        assert_eq!(of(Pointwise::BiasGelu, &[1, 256], 4), (1, 1));
        assert_eq!(of(Pointwise::BiasGelu, &[1 << 20, 1024], 4), (2112, 1));
        let norm = Pointwise::LayerNorm { epsilon: 0.0 };
        assert_eq!(of(norm, &[9, 256], 4), (2, 1));
        assert_eq!(of(Pointwise::Sine, &[64, 1 << 20], 4), (33, 64));
        assert_eq!(of(Pointwise::ChannelBias, &[70_000, 1, 8], 4), (1, 65535));
        let leading = Pointwise::Leading { count: 2 };
        assert_eq!(of(leading, &[2, 384, 1 << 20], 1), (6, 1));
    }
}
