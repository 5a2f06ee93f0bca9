//! With the feature `cuda`: compiles `cuda/*.cu` to PTX. Without it: nothing.

#[cfg(feature = "cuda")]
#[path = "build/cut.rs"]
mod cut;
#[cfg(feature = "cuda")]
#[path = "build/ptx.rs"]
mod ptx;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    if let Err(message) = ptx::compile() {
        println!("cargo::error={message}");
    }
}
