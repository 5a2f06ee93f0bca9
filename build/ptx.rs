//! Compiles every `cuda/*.cu` to PTX, for each architecture, cuts it into modules of
//! one kernel each, compresses those, and writes the table `$OUT_DIR/ptx_table.rs`
//! that `src/cuda/ptx.rs` includes.
//!
//! PTX is text that the driver compiles for the GPU at hand; that of an
//! architecture runs on all later ones. One folder for each architecture holds
//! it, named by a hash of everything it was made from: `bindgen_cuda` looks only
//! at the age of the `.cu` file, and would keep PTX made from older headers.

use super::cut;
use flate2::write::ZlibEncoder;
use flate2::Compression;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Compute capabilities to compile for, where `CUDA_COMPUTE_CAP` does not name one:
/// A100 and later, H100 and later.
const ARCHITECTURES: [usize; 2] = [80, 90];

/// What nvcc is given beside the architecture.
const FLAGS: [&str; 3] = ["-O3", "--std=c++17", "-Icuda"];

pub fn compile() -> Result<(), String> {
    for variable in ["CUDA_COMPUTE_CAP", "CUDA_PATH", "PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    // Headers too, and files that come or go.
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=cuda");

    let compiler = compiler_version()?;
    let sources = sources(Path::new("cuda"))?;
    let out_dir = PathBuf::from(env::var("OUT_DIR").map_err(|e| format!("OUT_DIR: {e}"))?);
    let mut table = String::from("[\n");
    for architecture in architectures()? {
        let folder = out_dir.join(folder_name(architecture, &compiler, &sources));
        let kernels: Vec<_> = sources
            .iter()
            .map(|(path, _)| path.clone())
            .filter(|path| path.extension().is_some_and(|extension| extension == "cu"))
            .collect();
        run_compiler(architecture, &folder, kernels.clone())?;
        for kernel in kernels {
            let name = kernel.file_stem().unwrap_or_default().to_string_lossy();
            let ptx = folder.join(format!("{name}.ptx"));
            let text = fs::read_to_string(&ptx)
                .map_err(|e| format!("nvcc made no {}: {e}", ptx.display()))?;
            for kernel in cut::kernels(&text) {
                let path = folder.join(format!("{}.ptx.z", kernel.name));
                let (ptx, alone) = for_target(kernel.ptx, architecture);
                fs::write(&path, compressed(&ptx)?)
                    .map_err(|e| format!("{}: {e}", path.display()))?;
                let function = kernel.name;
                table += &format!(
                    "    Entry {{ architecture: {architecture}, alone: {alone}, module: {name:?}, \
                     function: {function:?}, compressed: include_bytes!({path:?}) }},\n"
                );
            }
        }
    }
    let path = out_dir.join("ptx_table.rs");
    fs::write(&path, table + "]\n").map_err(|e| format!("{}: {e}", path.display()))?;
    println!(
        "cargo::rustc-env=FLASHFFTCONV_NVCC_VERSION={}",
        release(&compiler)
    );
    Ok(())
}

/// What the kernels' sources write before an instruction that an architecture has but not all later ones: to nvcc, which
/// `bindgen_cuda` asks for code that all of them run, it is a comment.
const ALONE: &str = "//alone: ";

/// The PTX of a kernel, and whether it is for its architecture alone, which it has to say then.
fn for_target(ptx: String, architecture: usize) -> (String, bool) {
    if !ptx.contains(ALONE) {
        return (ptx, false);
    }
    let target = format!(".target sm_{architecture}");
    let alone = ptx.replacen(&target, &format!("{target}a"), 1);
    (alone.replace(ALONE, ""), true)
}

/// PTX is wordy: zlib makes it twenty times smaller.
fn compressed(text: &str) -> Result<Vec<u8>, String> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(text.as_bytes())
        .and_then(|()| encoder.finish())
        .map_err(|e| format!("compressing PTX: {e}"))
}

/// What `nvcc --version` prints.
fn compiler_version() -> Result<String, String> {
    let output = Command::new("nvcc")
        .arg("--version")
        .output()
        .map_err(|error| {
            format!(
            "the feature `cuda` needs nvcc, the CUDA compiler, on the PATH ({error}): install the \
             CUDA toolkit from 12.0 on, or run `eval \"$(scripts/setup_nvcc.sh)\"`; or build \
             without the feature for the CPU alone"
        )
        })?;
    if !output.status.success() {
        return Err(format!("`nvcc --version` failed: {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// "13.0" of "Cuda compilation tools, release 13.0, V13.0.88".
fn release(version: &str) -> &str {
    version
        .split_once("release ")
        .and_then(|(_, rest)| rest.split([',', '\n']).next())
        .unwrap_or("unknown")
}

/// The architectures to compile for: `CUDA_COMPUTE_CAP` alone, or the usual ones.
fn architectures() -> Result<Vec<usize>, String> {
    let Ok(given) = env::var("CUDA_COMPUTE_CAP") else {
        return Ok(ARCHITECTURES.to_vec());
    };
    match given.replace('.', "").parse() {
        Ok(architecture) if architecture >= 80 => Ok(vec![architecture]),
        _ => Err(format!(
            "CUDA_COMPUTE_CAP: expected a compute capability from 80 on, such as 80 or 90, got {given:?}"
        )),
    }
}

/// All files of a folder with what they hold, by name.
fn sources(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            let content = fs::read(&path).map_err(failed)?;
            sources.push((path, content));
        }
    }
    sources.sort();
    Ok(sources)
}

fn folder_name(architecture: usize, compiler: &str, sources: &[(PathBuf, Vec<u8>)]) -> String {
    let mut hasher = DefaultHasher::new();
    (architecture, compiler, FLAGS, sources).hash(&mut hasher);
    format!("ptx-{architecture}-{:016x}", hasher.finish())
}

fn run_compiler(architecture: usize, folder: &Path, kernels: Vec<PathBuf>) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    // Without this variable the builder asks nvidia-smi, and panics where there is none.
    env::set_var("CUDA_COMPUTE_CAP", architecture.to_string());
    let builder = bindgen_cuda::Builder::default()
        .compute_cap(architecture)
        .kernel_paths(kernels)
        .out_dir(folder);
    FLAGS
        .iter()
        .fold(builder, |builder, flag| builder.arg(flag))
        .build_ptx()
        .map_err(|error| format!("{error:?}"))?;
    Ok(())
}
