//! Random damage never panics.

use crate::checkpoint_writer::*;
use crate::{checkpoint, floats, good, load, with_storage};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_archive_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        let mut bytes = with_storage(&good());
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = load(&bytes);
    }

    #[test]
    fn a_damaged_pickle_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
        shorten in any::<bool>(),
    ) {
        let object = Py::Dict(vec![
            (text("state_dict"), ordered_dict(vec![
                (text("x"), tensor_on(floats(), 0, &[2], &[1])),
                (text("y"), tensor_on(floats(), 0, &[2, 1], &[1, 2])),
            ])),
            (text("other"), Py::List(vec![Py::Int(70_000), Py::Float(1.5), Py::Tuple(vec![Py::None; 5])])),
        ]);
        let mut bytes = pickle(&object);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = load(&checkpoint().save_pickle(&bytes));
    }

    #[test]
    fn any_program_never_panics(
        // Opcodes that need nothing else, so that programs live longer than a few steps.
        opcodes in prop::collection::vec(prop::sample::select(b"N\x88)]}(\x85\x86\x87tleausdb012R\x81\x92Q\x93\x8f\x90\x91\x94o".to_vec()), 0..200),
        tail in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut bytes = b"ccollections\nOrderedDict\nctorch\nSize\nctorch._utils\n_rebuild_tensor_v2\n}](NN".to_vec();
        bytes.extend(opcodes);
        bytes.extend(tail);
        bytes.push(b'.');
        let _ = load(&checkpoint().save_pickle(&bytes));
    }
}
