//! Which transform computes a convolution: pure data, chosen by a pure function.

/// The complex FFT size for sequences of `length` samples: the smallest one of
/// the form `2^a · {1, 5/4, 3/2}` that holds them. The ladder is coarse so that
/// plans and spectra are shared between neighbouring lengths.
pub(crate) fn transform_size(length: usize) -> usize {
    let top = length.max(1).checked_next_power_of_two().unwrap_or(length);
    [top / 8 * 5, top / 4 * 3]
        .into_iter()
        .find(|&size| size >= length && size >= 16)
        .unwrap_or(top)
}

#[cfg(test)]
mod tests {
    use super::transform_size;

    #[test]
    fn transforms_hold_the_sequence_and_are_not_much_larger() {
        for length in (1..3000).chain([1 << 20, (1 << 20) + 1, 1 << 23]) {
            let size = transform_size(length);
            assert!(size >= length, "{length} {size}");
            assert!(
                length < 16 || size * 3 <= length * 4 + 16,
                "{length} {size}"
            );
        }
    }
}
