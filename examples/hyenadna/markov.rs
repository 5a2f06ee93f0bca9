//! Markov models of DNA: the yardstick for a neural network.
//!
//! A model of order `k` predicts a base from the `k` bases before it, by the
//! counts of what followed them in the training bases, each plus one:
//! `p(b | context) = (count(context, b) + 1) / (count(context) + 4)`.
//! Where fewer than `k` bases are known to the left (the start of a sequence,
//! an N nearby) the order is lower, down to the base composition; so every
//! order is scored on the same bases.

use anyhow::{bail, Result};

/// The highest order: its table has 4^11 counts.
pub const MAX_ORDER: usize = 10;

/// Counts for the orders 0 to `order`, with the smoothing and the rule for short contexts of the [module](self).
#[derive(Debug, Clone)]
pub struct Markov {
    /// `counts[k]` has `4^(k+1)` entries: a context of `k` bases and the base after it, two bits each.
    counts: Vec<Vec<u32>>,
}

/// 0 to 3 for A, C, G, T.
fn code(base: u8) -> Option<usize> {
    match base {
        b'A' => Some(0),
        b'C' => Some(1),
        b'G' => Some(2),
        b'T' => Some(3),
        _ => None,
    }
}

/// Calls `visit(index of context and base, number of known bases to the left)` for each A, C, G, T.
///
/// The index holds the base in its lowest two bits and the base `j` to the left at bit `2j`.
fn walk(sequence: &[u8], mut visit: impl FnMut(usize, usize)) {
    let (mut index, mut known) = (0usize, 0usize);
    let mask = (1usize << (2 * (MAX_ORDER + 1))) - 1;
    for &base in sequence {
        match code(base) {
            Some(code) => {
                index = ((index << 2) | code) & mask;
                visit(index, known);
                known += 1;
            }
            None => known = 0,
        }
    }
}

fn entries(order: usize) -> usize {
    1 << (2 * (order + 1))
}

impl Markov {
    /// Counts the bases of `sequences` for the orders 0 to `order`.
    pub fn fit<'a>(sequences: impl IntoIterator<Item = &'a [u8]>, order: usize) -> Result<Self> {
        if order > MAX_ORDER {
            bail!("the order of a Markov model can be at most {MAX_ORDER}, got {order}");
        }
        let mut counts: Vec<Vec<u32>> = (0..=order).map(|k| vec![0; entries(k)]).collect();
        for sequence in sequences {
            walk(sequence, |index, known| {
                for (k, table) in counts.iter_mut().enumerate().take(known + 1) {
                    if let Some(count) = table.get_mut(index & (entries(k) - 1)) {
                        *count = count.saturating_add(1);
                    }
                }
            });
        }
        Ok(Self { counts })
    }

    /// `−log2 p` of the base at the end of `index`, by the highest order that is fitted and known.
    fn bits(&self, index: usize, known: usize, order: usize) -> f64 {
        let k = order.min(known).min(self.counts.len().saturating_sub(1));
        let Some(table) = self.counts.get(k) else {
            return 2.0;
        };
        let entry = index & (entries(k) - 1);
        let context = entry & !3;
        let following: f64 = table
            .iter()
            .skip(context)
            .take(4)
            .map(|&c| f64::from(c))
            .sum();
        let count = table.get(entry).copied().map_or(0.0, f64::from);
        -((count + 1.0) / (following + 4.0)).log2()
    }

    /// The mean bits per base of a model of order `order` over all A, C, G, T of `sequences`
    /// but the first base of each, which a model without a start token cannot predict.
    /// NaN where that leaves nothing.
    pub fn bits_per_base<'a>(
        &self,
        sequences: impl IntoIterator<Item = &'a [u8]>,
        order: usize,
    ) -> f64 {
        let (mut sum, mut bases) = (0.0, 0usize);
        for sequence in sequences {
            // What precedes an N is context for nothing, so a start and a base
            // after an N look alike in `known`: the first base is told by its place.
            let mut skip = sequence.first().copied().is_some_and(|b| code(b).is_some());
            walk(sequence, |index, known| {
                if !std::mem::take(&mut skip) {
                    sum += self.bits(index, known, order);
                    bases += 1;
                }
            });
        }
        sum / bases as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_zero_is_the_smoothed_composition() {
        let model = Markov::fit([&b"AACG"[..]], 0).unwrap();
        // (2+1)/8, (1+1)/8, (1+1)/8, (0+1)/8
        let got = model.bits_per_base([&b"NACGT"[..]], 0);
        let want = -[3f64, 2., 2., 1.]
            .iter()
            .map(|c| (c / 8.).log2())
            .sum::<f64>()
            / 4.;
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }

    #[test]
    fn order_one_by_hand() {
        let model = Markov::fit([&b"ACACAT"[..]], 1).unwrap();
        // After A: C twice, T once. After C: A twice. First base of what is scored: not counted.
        let got = model.bits_per_base([&b"ACA"[..]], 1);
        let want = -((3f64 / 7.).log2() + (3f64 / 6.).log2()) / 2.;
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }

    #[test]
    fn an_n_cuts_the_context() {
        let model = Markov::fit([&b"ACACANAC"[..]], 2).unwrap();
        // After the N the order falls to 0, then rises again.
        let order0 = model.bits_per_base([&b"NA"[..]], 2);
        assert_eq!(order0, model.bits_per_base([&b"NA"[..]], 0));
        let two = model.bits_per_base([&b"NAC"[..]], 2) * 2.0 - order0;
        assert!((two - (model.bits_per_base([&b"AC"[..]], 1))).abs() < 1e-12);
        assert!(model.bits_per_base([&b"A"[..], b"", b"NN"], 2).is_nan());
    }

    #[test]
    fn a_periodic_sequence_needs_enough_order() {
        let sequence: Vec<u8> = b"AACC".iter().copied().cycle().take(4000).collect();
        let model = Markov::fit([&sequence[..]], 3).unwrap();
        assert!(model.bits_per_base([&sequence[..]], 0) > 0.99);
        assert!(model.bits_per_base([&sequence[..]], 1) > 0.99);
        assert!(model.bits_per_base([&sequence[..]], 2) < 0.02);
        assert!(model.bits_per_base([&sequence[..]], 3) < 0.02);
    }

    #[test]
    fn too_high_an_order_is_refused() {
        assert!(Markov::fit([&b"ACGT"[..]], MAX_ORDER).is_ok());
        assert!(Markov::fit([&b"ACGT"[..]], MAX_ORDER + 1).is_err());
    }
}
