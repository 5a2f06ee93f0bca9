//! How blocks share the tiles of groups of channels of the tensor cores' channels-last kernels, see
//! `cuda/depthwise_frame_turns.cuh`.

use super::MULTIPROCESSORS;

/// Parts of a group, at most.
const MOST_PARTS: usize = 512;

/// The blocks of groups of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Sharing {
    /// Blocks of each group.
    pub parts: usize,
    /// Tiles of each group that helpers take, and how many of those there are.
    pub helped: usize,
    pub helpers: usize,
}

impl Sharing {
    /// For kernels whose blocks share their work otherwise.
    pub const NONE: Self = Self::without_helpers(1);

    const fn without_helpers(parts: usize) -> Self {
        Self {
            parts,
            helped: 0,
            helpers: 0,
        }
    }

    /// So that the last block of so many groups of so many tiles ends soonest on a large GPU, where setting up a group takes
    /// the time of a tile. Helpers have to save a tenth of it: they read fewer neighbouring channels at the same time, which
    /// takes longer.
    pub fn of(groups: usize, tiles: usize) -> Self {
        let (alone, time_alone) = (1..=tiles.clamp(1, MOST_PARTS))
            .map(|parts| {
                let rounds = groups.saturating_mul(parts).div_ceil(MULTIPROCESSORS);
                let time = rounds.saturating_mul(tiles.div_ceil(parts) + 1);
                (Self::without_helpers(parts), time)
            })
            .min_by_key(|&(_, time)| time)
            .unwrap_or((Self::NONE, usize::MAX));
        match Self::with_helpers(groups, tiles) {
            Some((helped, time)) if 10 * time <= 9 * time_alone => helped,
            _ => alone,
        }
    }

    /// As many parts of each group as there is room for, and helpers for the rest of the GPU, and the time that they take.
    fn with_helpers(groups: usize, tiles: usize) -> Option<(Self, usize)> {
        if !(1..MULTIPROCESSORS).contains(&groups) {
            return None;
        }
        let parts = (MULTIPROCESSORS / groups).min(tiles);
        let helpers = MULTIPROCESSORS - groups * parts;
        // A group has two of them at most.
        if parts == 0 || helpers == 0 || helpers > groups {
            return None;
        }
        // Near where both end at the same time, if a helper sets up two groups.
        let near = helpers * (tiles - parts.min(tiles)) / (helpers + parts * groups);
        (near..=near + 1)
            .filter(|helped| (1..tiles).contains(helped))
            .map(|helped| {
                let own = (tiles - helped).div_ceil(parts) + 1;
                let share = (groups * helped).div_ceil(helpers);
                let turns = match groups.is_multiple_of(helpers) {
                    true => groups / helpers,
                    false => (share - 1).div_ceil(helped) + 1,
                };
                let sharing = Self {
                    parts,
                    helped,
                    helpers,
                };
                (sharing, own.max(share + turns))
            })
            .min_by_key(|&(_, time)| time)
    }

    /// Of so many groups.
    pub fn blocks(&self, groups: usize) -> usize {
        groups.saturating_mul(self.parts) + self.helpers
    }

    /// Of a sum over the tiles of each group.
    pub fn pieces(&self) -> usize {
        match self.helpers {
            0 => self.parts,
            _ => self.parts + 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fill_the_multiprocessors() {
        assert_eq!(Sharing::of(512, 256), Sharing::without_helpers(1));
        assert_eq!(Sharing::of(8, 16), Sharing::without_helpers(16));
        // Helpers would save a twentieth.
        assert_eq!(Sharing::of(24, 256), Sharing::without_helpers(11));
        assert_eq!(Sharing::of(0, 0), Sharing::NONE);
    }

    #[test]
    fn helpers_where_groups_do_not_divide_the_multiprocessors() {
        // 120 blocks of 6 tiles, and 12 of 2 of each of two groups, instead of 120 of 7.
        let sharing = Sharing::of(24, 32);
        assert_eq!(
            sharing,
            Sharing {
                parts: 5,
                helped: 2,
                helpers: 12
            }
        );
        assert_eq!((sharing.blocks(24), sharing.pieces()), (132, 7));
        let sharing = Sharing::of(48, 16);
        assert_eq!((sharing.parts, sharing.helped), (2, 3));
        assert_eq!(sharing.blocks(48), 132);
    }

    /// Of each group at most two, so that its pieces are as many as are summed.
    #[test]
    fn helpers_of_a_group_are_neighbours() {
        for groups in 1..140 {
            for tiles in [1, 2, 3, 7, 16, 32, 100, 256] {
                let sharing = Sharing::of(groups, tiles);
                if sharing.helpers == 0 {
                    continue;
                }
                let (each, more) = (
                    groups * sharing.helped / sharing.helpers,
                    groups * sharing.helped % sharing.helpers,
                );
                let helper_of = |tile: usize| {
                    (0..sharing.helpers)
                        .rfind(|&helper| helper * each + helper.min(more) <= tile)
                        .unwrap()
                };
                for group in 0..groups {
                    let first = helper_of(group * sharing.helped);
                    let last = helper_of((group + 1) * sharing.helped - 1);
                    assert!(last - first < 2, "{sharing:?} of {groups} groups");
                }
                assert!(sharing.helped < tiles && sharing.blocks(groups) <= MULTIPROCESSORS);
            }
        }
    }
}
