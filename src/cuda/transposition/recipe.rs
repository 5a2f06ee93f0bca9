//! Which kernel of `cuda/transposition.cu` copies a tensor, and its blocks: pure data.

/// The most rows, and columns, that the kernels count.
pub(crate) const MOST: usize = 1 << 30;

/// Threads of a block.
pub(super) const THREADS: u32 = 256;

/// The tensor that is read, `(batch, rows, columns)` of contiguous rows; strides in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) element_bytes: usize,
    /// Of the first element.
    pub(super) address: u64,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) batch_stride: usize,
    pub(super) row_stride: usize,
}

/// The kernel, and the blocks of one batch item; none where there is no kernel, or too many blocks.
pub(super) fn choose(source: &Source) -> Option<(&'static str, u32)> {
    let even = |number: usize| number.is_multiple_of(2);
    let words = source.address.is_multiple_of(4)
        && [
            source.rows,
            source.columns,
            source.batch_stride,
            source.row_stride,
        ]
        .into_iter()
        .all(even);
    let (function, tile) = match (source.element_bytes, words) {
        (2, true) => ("transposition_16_words", 64),
        (2, false) => ("transposition_16", 64),
        (4, _) => ("transposition_32", 32),
        _ => return None,
    };
    if source.rows > MOST || source.columns > MOST {
        return None;
    }
    let blocks = source.rows.div_ceil(tile) * source.columns.div_ceil(tile);
    let blocks = i32::try_from(blocks).ok()?;
    Some((function, u32::try_from(blocks).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Source = Source {
        element_bytes: 2,
        address: 4096,
        rows: 1000,
        columns: 768,
        batch_stride: 768_000,
        row_stride: 768,
    };

    #[test]
    fn words_where_all_pairs_are_words() {
        let function = |source: Source| choose(&source).map(|(function, _)| function);
        assert_eq!(function(SOURCE), Some("transposition_16_words"));
        for odd in [
            Source {
                address: 4098,
                ..SOURCE
            },
            Source {
                rows: 999,
                ..SOURCE
            },
            Source {
                columns: 767,
                ..SOURCE
            },
            Source {
                batch_stride: 768_001,
                ..SOURCE
            },
            Source {
                row_stride: 769,
                ..SOURCE
            },
        ] {
            assert_eq!(function(odd), Some("transposition_16"), "{odd:?}");
        }
        let element_bytes = 4;
        assert_eq!(
            function(Source {
                element_bytes,
                ..SOURCE
            }),
            Some("transposition_32")
        );
        let element_bytes = 8;
        assert_eq!(
            function(Source {
                element_bytes,
                ..SOURCE
            }),
            None
        );
    }

    #[test]
    fn blocks_cover_the_tensor() {
        assert_eq!(choose(&SOURCE).map(|(_, blocks)| blocks), Some(16 * 12));
        let source = Source {
            rows: 65,
            columns: 1,
            ..SOURCE
        };
        assert_eq!(choose(&source).map(|(_, blocks)| blocks), Some(2));
        let source = Source {
            rows: 1 << 31,
            ..SOURCE
        };
        assert_eq!(choose(&source), None);
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn every_kernel_is_compiled() {
        use crate::cuda::ptx::{choose, PTX};
        for function in [
            "transposition_16_words",
            "transposition_16",
            "transposition_32",
        ] {
            choose(PTX, "transposition", function, 1000).unwrap();
        }
    }
}
