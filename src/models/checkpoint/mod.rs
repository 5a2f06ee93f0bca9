//! Reads the tensors of a weight file, whatever its format.

mod archive;
mod element;
mod error;
mod pickle;
mod safetensors;
mod torch;
mod view;

use candle_core::{Device, Result, Tensor};
use error::malformed;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

/// Reads every tensor of a weight file onto `device`, under the names and with the dtypes of the file.
///
/// The format is recognised by content, not by the file's name:
///
/// * **safetensors**;
/// * **PyTorch** archives as `torch.save` writes them since 1.6 (`.ckpt`, `.bin`, `.pt`).
///   The tensors are those under `state_dict`, as in a Lightning checkpoint, or
///   those of the saved dictionary itself. Optimizer states are not read.
///
/// Booleans become u8. A file is data: nothing in it is ever executed, what it
/// claims is checked against the bytes that are there before anything is
/// allocated, and a pickle that asks for anything but plain containers, tensors
/// and configuration objects is refused.
///
/// # Errors
/// A file that cannot be read, has another format, is damaged or truncated, or
/// holds a dtype that candle does not have; the message says where.
///
/// ```no_run
/// use candle_core::Device;
/// use candle_flashfftconv::models::checkpoint::load_tensors;
///
/// let tensors = load_tensors("weights.ckpt", &Device::Cpu)?;
/// for (name, tensor) in &tensors {
///     println!("{name}: {:?} {:?}", tensor.dims(), tensor.dtype());
/// }
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn load_tensors(path: impl AsRef<Path>, device: &Device) -> Result<HashMap<String, Tensor>> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let file = File::open(path).map_err(|e| malformed(&name, "a readable file", e))?;
    load_from(file, &name, device)
}

/// [`load_tensors`] for a file that is in memory already.
///
/// # Errors
/// As [`load_tensors`].
pub fn load_tensors_from_bytes(bytes: &[u8], device: &Device) -> Result<HashMap<String, Tensor>> {
    load_from(Cursor::new(bytes), "weights in memory", device)
}

fn load_from<R: Read + Seek>(
    reader: R,
    source_name: &str,
    device: &Device,
) -> Result<HashMap<String, Tensor>> {
    let mut source = Source::new(reader, source_name)?;
    let start = source.peek_start()?;
    match Format::of(&start) {
        Format::Safetensors => safetensors::load(source, device),
        Format::Zip => torch::load(source, device),
        Format::Unknown(what) => Err(source
            .malformed("safetensors or a PyTorch zip archive", what)
            .into()),
    }
}

/// What the first bytes of a file say that it is.
enum Format {
    Safetensors,
    Zip,
    Unknown(String),
}

impl Format {
    fn of(start: &[u8]) -> Self {
        if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
            return Self::Zip;
        }
        // Eight bytes of header length, then the header, a JSON object.
        if start.get(8) == Some(&b'{') {
            return Self::Safetensors;
        }
        Self::Unknown(match start {
            [] => "an empty file".to_string(),
            _ if start.starts_with(b"version https://git-lfs") => {
                "a Git LFS pointer: fetch the file that it stands for".to_string()
            }
            [0x80, ..] => {
                "a bare pickle, as torch.save wrote before version 1.6: load it in PyTorch and save it again"
                    .to_string()
            }
            _ => format!("a file that starts with \"{}\"", start.escape_ascii()),
        })
    }
}

/// A file to read from, with its true size and the name for messages.
struct Source<'a, R> {
    reader: R,
    len: u64,
    name: &'a str,
}

impl<'a, R: Read + Seek> Source<'a, R> {
    fn new(mut reader: R, name: &'a str) -> Result<Self> {
        let len = reader
            .seek(SeekFrom::End(0))
            .map_err(|e| malformed(name, "a regular file", e))?;
        Ok(Self { reader, len, name })
    }

    fn malformed(&self, expected: impl ToString, got: impl ToString) -> crate::Error {
        malformed(self.name, expected, got)
    }

    /// Up to the first 32 bytes.
    fn peek_start(&mut self) -> Result<Vec<u8>> {
        self.read_at(0, self.len.min(32), "the start of the file")
    }

    /// Reads `len` bytes at `offset`. Checks the file's size before it allocates.
    fn read_at(&mut self, offset: u64, len: u64, what: &str) -> Result<Vec<u8>> {
        let end = offset.checked_add(len).filter(|&end| end <= self.len);
        let (Some(_), Ok(count)) = (end, usize::try_from(len)) else {
            return Err(self
                .malformed(
                    format!("{len} bytes of {what} at byte {offset}"),
                    format!("a file of {} bytes", self.len),
                )
                .into());
        };
        let mut bytes = vec![0; count];
        self.reader
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.reader.read_exact(&mut bytes))
            .map_err(|e| self.malformed(format!("to read {what}"), e))?;
        Ok(bytes)
    }
}
