//! Lengths, numbers of taps, dtypes.

use crate::case::{check, dtypes, rows, tolerance, Case, Causal, Symmetric, DTYPES};
use crate::common::{assert_close_slices, random_tensor, to_f64};
use crate::twin;
use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_flashfftconv::Conv1dLayout::{self, Bhl, Blh};

/// In both types of 16 bits, with parameters of the same type and of f32.
fn check_half_precision(device: &Device, case: Case, layout: Conv1dLayout) {
    for dtype in [DType::F16, DType::BF16] {
        check(device, case, layout, dtype, dtype);
        check(device, case, layout, dtype, DType::F32);
    }
}

fn ugly_sizes(device: &Device) -> Result<()> {
    for length in [1, 2, 129, 372, 1134] {
        for taps in [1, 2, 3, 4, 5, 7, 8, 9, 17, 130] {
            for padding in [
                Causal,
                Symmetric(0),
                Symmetric(taps / 2),
                Symmetric(taps + 3),
            ] {
                let case = Case::new([2, 3, length], taps, padding);
                if matches!(padding, Symmetric(p) if length + 2 * p < taps) {
                    continue;
                }
                for layout in [Bhl, Blh] {
                    check(device, case, layout, DType::F32, DType::F32);
                }
            }
        }
    }
    Ok(())
}
twin!(ugly_sizes, super::ugly_sizes);

fn every_pair_of_dtypes(device: &Device) -> Result<()> {
    let case = Case::new([3, 5, 129], 4, Causal);
    for layout in [Bhl, Blh] {
        for dtype in dtypes(device) {
            for parameters in DTYPES {
                check(device, case, layout, dtype, parameters);
            }
        }
    }
    Ok(())
}
twin!(every_pair_of_dtypes, super::every_pair_of_dtypes);

/// Sizes at which tasks, blocks and pieces are cut.
fn sizes_beyond_one_block(device: &Device) -> Result<()> {
    let sizes = [
        (1, 1, 70_001, 3),
        (2, 700, 300, 5),
        (70, 3, 131, 3),
        (1, 2, 17_000, 700),
    ];
    for (batch, channels, length, taps) in sizes {
        let case = Case::new([batch, channels, length], taps, Symmetric(taps / 2));
        for layout in [Bhl, Blh] {
            for dtype in [DType::F32, DType::BF16] {
                check(device, case, layout, dtype, DType::F32);
            }
        }
    }
    Ok(())
}
twin!(sizes_beyond_one_block, super::sizes_beyond_one_block);

/// Between what fits the registers and what passes through them in blocks, on a GPU with and
/// without tensor cores.
fn many_taps(device: &Device) -> Result<()> {
    for (length, taps, padding) in [
        (600, 16, Causal),
        (600, 17, Symmetric(8)),
        (1134, 32, Symmetric(16)),
        (1025, 33, Causal),
        (96, 64, Symmetric(70)),
        (700, 65, Symmetric(0)),
        (2100, 128, Causal),
        (1000, 127, Symmetric(63)),
        (500, 300, Causal),
    ] {
        for silu in [false, true] {
            let case = Case::new([2, 3, length], taps, padding).with_silu(silu);
            for layout in [Bhl, Blh] {
                for dtype in [DType::F32, DType::F16, DType::BF16] {
                    check(device, case, layout, dtype, dtype);
                    check(device, case, layout, dtype, DType::F32);
                }
            }
        }
    }
    Ok(())
}
twin!(many_taps, super::many_taps);

/// Channels-last frames of whole vectors, and of other sizes, which take another way on a GPU.
fn many_taps_of_frames(device: &Device) -> Result<()> {
    for (channels, length, taps, padding) in [
        (8, 600, 17, Causal),
        (24, 1025, 32, Symmetric(16)),
        (40, 1, 33, Causal),
        (16, 2100, 128, Causal),
        (72, 513, 127, Symmetric(63)),
        (16, 96, 64, Symmetric(70)),
        (66, 130, 20, Causal),
        (65, 129, 20, Symmetric(3)),
        (16, 300, 200, Causal),
    ] {
        let case = Case::new([2, channels, length], taps, padding);
        for dtype in dtypes(device) {
            check(device, case.with_silu(taps == 32), Blh, dtype, dtype);
            check(device, case, Blh, dtype, DType::F32);
        }
    }
    Ok(())
}
twin!(many_taps_of_frames, super::many_taps_of_frames);

/// Channels-last gradients of many taps: inputs and outputs of different lengths, several tiles of a sequence.
fn gradients_of_many_taps_of_frames(device: &Device) -> Result<()> {
    for (channels, length, taps, padding) in [
        (8, 1024, 128, Causal),
        (24, 2100, 33, Symmetric(20)), // more outputs than inputs
        (16, 1030, 65, Symmetric(0)),  // fewer
        (40, 700, 9, Symmetric(3)),
        (8, 2049, 64, Symmetric(55)),
        (16, 520, 41, Symmetric(60)), // of padding alone
        (8, 1500, 12, Symmetric(14)),
        (8, 600, 3, Symmetric(5)), // of padding alone, which kernels of few taps do not take
    ] {
        let case = Case::new([3, channels, length], taps, padding);
        check_half_precision(device, case, Blh);
    }
    Ok(())
}
twin!(
    gradients_of_many_taps_of_frames,
    super::gradients_of_many_taps_of_frames
);

/// More tiles than blocks, of enough channels that a block has several tiles and that some blocks help others: the same as
/// channels first.
fn many_tiles_of_many_taps(device: &Device) -> Result<()> {
    let case = Case::new([2, 1120, 2100], 20, Causal);
    for parameters in [DType::BF16, DType::F32] {
        let x = random_tensor(1, &case.input_shape(Blh), DType::BF16, device)?;
        let weight = random_tensor(2, &[case.channels, case.taps], parameters, device)?;
        let bias = random_tensor(4, &[case.channels], parameters, device)?;
        let dy = random_tensor(3, &case.input_shape(Blh), DType::BF16, device)?;
        let of = |layout, x: &Tensor, dy: &Tensor| -> Result<[Vec<f64>; 4]> {
            let (x, weight) = (Var::from_tensor(x)?, Var::from_tensor(&weight)?);
            let bias = Var::from_tensor(&bias)?;
            let y = case.convolution(&weight, Some(&bias), layout).forward(&x)?;
            let gradients = (&y * dy)?.backward()?;
            let of = |var: &Var| match gradients.get(var) {
                Some(gradient) => Ok(gradient.clone()),
                None => candle_core::bail!("no gradient"),
            };
            Ok([
                rows(&y, layout),
                rows(&of(&x)?, layout),
                to_f64(&of(&weight)?),
                to_f64(&of(&bias)?),
            ])
        };
        let got = of(Blh, &x, &dy)?;
        let channels_first = |t: &Tensor| t.transpose(1, 2)?.contiguous();
        let want = of(Bhl, &channels_first(&x)?, &channels_first(&dy)?)?;
        let dtypes = [DType::BF16, DType::BF16, parameters, parameters];
        for (k, what) in ["y", "dx", "dweight", "dbias"].into_iter().enumerate() {
            assert_close_slices(&got[k], &want[k], tolerance(dtypes[k]), what);
        }
    }
    Ok(())
}
twin!(many_tiles_of_many_taps, super::many_tiles_of_many_taps);

fn every_number_of_taps(device: &Device) -> Result<()> {
    for taps in 1..=17 {
        for (length, silu) in [(129, false), (64, true)] {
            for padding in [Causal, Symmetric(taps / 2)] {
                let case = Case::new([2, 16, length], taps, padding).with_silu(silu);
                for layout in [Bhl, Blh] {
                    for dtype in dtypes(device) {
                        check(device, case, layout, dtype, DType::F32);
                    }
                }
            }
        }
    }
    Ok(())
}
twin!(every_number_of_taps, super::every_number_of_taps);

/// Enough neighbouring channels to be read at once, and more than a block has.
fn groups_of_channels(device: &Device) -> Result<()> {
    for taps in [1, 2, 3, 4, 5, 6, 7, 8, 9, 16] {
        for (length, padding, silu) in [
            (70, Causal, false),
            (33, Symmetric(taps / 2), false),
            (37, Causal, true),
        ] {
            let case = Case::new([2, 136, length], taps, padding).with_silu(silu);
            for dtype in dtypes(device) {
                check(device, case, Blh, dtype, DType::F32);
            }
            check(device, case, Blh, DType::BF16, DType::BF16);
        }
    }
    Ok(())
}
twin!(groups_of_channels, super::groups_of_channels);

/// More tiles than blocks, forward and backward.
fn many_tiles(device: &Device) -> Result<()> {
    for (taps, silu) in [(3, false), (7, true)] {
        let case = Case::new([2, 72, 6000], taps, Causal).with_silu(silu);
        check(device, case, Blh, DType::BF16, DType::F32);
    }
    // Two tiles a block forward, an odd number of them; six a block backward.
    let case = Case::new([8, 32, 6430], 7, Causal);
    check(device, case, Blh, DType::F32, DType::F32);
    Ok(())
}
twin!(many_tiles, super::many_tiles);

/// Rows of whole vectors, long enough for a block each: paddings that kernels know, units of 8 samples.
fn rows_of_whole_vectors(device: &Device) -> Result<()> {
    for taps in 1..=16 {
        for length in [264, 512, 1032] {
            for padding in [Causal, Symmetric(taps / 2), Symmetric(taps - 1)] {
                let case = Case::new([2, 2, length], taps, padding);
                for dtype in dtypes(device) {
                    check(device, case, Bhl, dtype, DType::F32);
                }
                check(device, case, Bhl, DType::BF16, DType::BF16);
                if length > 512 {
                    check(device, case.with_silu(true), Bhl, DType::F16, DType::F16);
                }
            }
        }
    }
    Ok(())
}
twin!(rows_of_whole_vectors, super::rows_of_whole_vectors);

/// Rows of a consecutive tensor that begin anywhere between multiples of 16 bytes, and end in the further round of a tile's
/// units, just before it and just behind it.
fn rows_between_vectors(device: &Device) -> Result<()> {
    for (length, taps, padding) in [
        (513, 2, Causal),
        (632, 3, Causal),
        (633, 3, Symmetric(1)),
        (634, 7, Causal),
        (1023, 7, Symmetric(3)),
        (1145, 9, Causal),
        (1146, 16, Causal),
        (1150, 15, Symmetric(7)),
        (1021, 5, Symmetric(6)), // more outputs than inputs
        (1027, 9, Symmetric(0)), // fewer
        (1021, 33, Symmetric(20)),
        (1027, 33, Symmetric(12)),
        (257, 5, Causal),
        (4101, 3, Causal),
        (1023, 17, Causal),
        (634, 33, Symmetric(16)),
        (1145, 128, Causal),
        (519, 127, Symmetric(63)),
        (517, 128, Causal), // a few samples more than a tile
        (1033, 40, Causal), // as many more as a tile can have
        (1033, 64, Symmetric(32)),
        (1034, 40, Causal), // one more
        (1300, 300, Causal),
    ] {
        let case = Case::new([3, 5, length], taps, padding);
        check_half_precision(device, case, Bhl);
        check(device, case.with_silu(true), Bhl, DType::BF16, DType::BF16);
    }
    Ok(())
}
twin!(rows_between_vectors, super::rows_between_vectors);

/// Rows shorter than a vector of 16 bytes, of which neighbouring ones share vectors, and of little but padding.
fn rows_within_vectors(device: &Device) -> Result<()> {
    for length in [1, 2, 3, 5, 7, 8, 9] {
        for (taps, padding) in [
            (3, Symmetric(600)),
            (3, Symmetric(601)), // outputs begin as inputs do, as in those that follow
            (5, Symmetric(302)),
            (17, Symmetric(152)),
            (33, Symmetric(20)),
            (64, Causal),
            (127, Symmetric(63)),
        ] {
            let case = Case::new([5, 3, length], taps, padding);
            for layout in [Bhl, Blh] {
                check_half_precision(device, case, layout);
            }
        }
    }
    Ok(())
}
twin!(rows_within_vectors, super::rows_within_vectors);

/// Whole vectors and many taps; inputs and outputs of different lengths; more tiles than a block has.
fn units_of_many_taps(device: &Device) -> Result<()> {
    for (length, taps, padding) in [
        (1024, 17, Causal),
        (1032, 33, Symmetric(16)),
        (1024, 33, Symmetric(20)), // more outputs than inputs
        (1024, 41, Symmetric(60)), // of padding alone
        (1024, 65, Symmetric(28)), // fewer
        (512, 128, Causal),
        (1024, 129, Symmetric(60)),
        (2064, 300, Causal),
        (4104, 7, Causal),
        (4104, 100, Symmetric(95)),
    ] {
        let case = Case::new([3, 2, length], taps, padding);
        check_half_precision(device, case, Bhl);
    }
    Ok(())
}
twin!(units_of_many_taps, super::units_of_many_taps);

fn one_batch_item_one_channel(device: &Device) -> Result<()> {
    for layout in [Bhl, Blh] {
        for taps in 1..=9 {
            let case = Case::new([1, 1, 40], taps, Causal);
            for dtype in dtypes(device) {
                check(device, case, layout, dtype, dtype);
            }
        }
    }
    Ok(())
}
twin!(
    one_batch_item_one_channel,
    super::one_batch_item_one_channel
);

/// Padding far beyond the row gives the bias.
fn padding_beyond_the_row(device: &Device) -> Result<()> {
    let case = Case::new([1, 2, 3], 2, Symmetric(9000));
    for layout in [Bhl, Blh] {
        check(device, case, layout, DType::F32, DType::F32);
        check(device, case, layout, DType::F16, DType::F32);
    }
    Ok(())
}
twin!(padding_beyond_the_row, super::padding_beyond_the_row);
