//! What parts of names stand for.

use crate::machine::instruction::{Number, Space, Special, Update};

pub(super) fn number(kind: &str) -> Option<Number> {
    Some(match kind {
        "u32" | "b32" => Number::Unsigned32,
        "s32" => Number::Signed32,
        "u64" | "b64" => Number::Unsigned64,
        "s64" => Number::Signed64,
        "f16" => Number::Float16,
        "bf16" => Number::BFloat16,
        "f32" => Number::Float32,
        "f64" => Number::Float64,
        _ => return None,
    })
}

pub(super) fn update(name: &[&str]) -> Option<Update> {
    [
        ("add", Update::Add),
        ("min", Update::Min),
        ("max", Update::Max),
        ("and", Update::And),
        ("or", Update::Or),
        ("xor", Update::Xor),
        ("exch", Update::Exchange),
        ("cas", Update::CompareAndSwap),
    ]
    .into_iter()
    .find_map(|(text, update)| name.contains(&text).then_some(update))
}

pub(super) fn space(name: &[&str]) -> Space {
    for part in name {
        match *part {
            "global" | "const" => return Space::Global,
            "shared" | "shared::cta" | "shared::cluster" => return Space::Shared,
            "local" => return Space::Local,
            "param" => return Space::Parameter,
            _ => {}
        }
    }
    Space::Generic
}

pub(super) fn special(name: &str) -> Option<Special> {
    let (name, axis) = match name.rsplit_once('.') {
        Some((name, "x")) => (name, 0),
        Some((name, "y")) => (name, 1),
        Some((name, "z")) => (name, 2),
        _ => (name, 0),
    };
    Some(match name {
        "%tid" => Special::Thread(axis),
        "%ctaid" => Special::Block(axis),
        "%ntid" => Special::Threads(axis),
        "%nctaid" => Special::Blocks(axis),
        "%laneid" => Special::Lane,
        "%warpid" => Special::Warp,
        "%lanemask_lt" => Special::LaneMaskBelow,
        "%clusterid" => Special::Cluster(axis),
        "%cluster_ctaid" => Special::BlockInCluster(axis),
        "%cluster_nctaid" => Special::BlocksOfCluster(axis),
        "%cluster_ctarank" => Special::BlockRankInCluster,
        "%cluster_nctarank" => Special::ClusterBlocks,
        "%dynamic_smem_size" => Special::DynamicSharedBytes,
        _ => return None,
    })
}
