//! The zip archive of a PyTorch checkpoint.
//!
//! Everything is stored as it is, under one folder: `data.pkl` (the objects),
//! `data/KEY` (the storages) and, from newer versions, `byteorder`.

use super::error::quoted;
use super::Source;
use crate::Error;
use std::io::{BufReader, Read, Seek};
use zip::{CompressionMethod, ZipArchive};

pub(super) struct Archive<'a, R> {
    zip: ZipArchive<BufReader<R>>,
    /// What precedes `data.pkl` in the names, with a slash at its end, or nothing.
    folder: String,
    /// Size of the file: no record is larger.
    len: u64,
    name: &'a str,
}

impl<'a, R: Read + Seek> Archive<'a, R> {
    /// Reads the table of contents and refuses archives in which records
    /// overlap or share a name: what they would fill is out of proportion to the file.
    pub fn open(source: Source<'a, R>) -> Result<Self, Error> {
        let Source { reader, len, name } = source;
        let malformed = |expected: &str, got: String| super::malformed(name, expected, got);
        let invalid = |e: zip::result::ZipError| malformed("a zip archive", e.to_string());
        let mut zip = ZipArchive::new(BufReader::new(reader)).map_err(invalid)?;
        if zip.has_duplicate_names() {
            return Err(malformed("every record once", "a name twice".to_string()));
        }
        if zip.has_overlapping_files().map_err(invalid)? {
            return Err(malformed(
                "records that lie in the file one after the other",
                "records that overlap or go past the end".to_string(),
            ));
        }
        let mut folders = zip
            .file_names()
            .filter_map(|name| Some(name.ok()?.strip_suffix("data.pkl")?.to_string()))
            .filter(|folder| folder.is_empty() || folder.ends_with('/'));
        let folder = match (folders.next(), folders.next()) {
            (Some(folder), None) => folder,
            (first, _) => {
                return Err(malformed(
                    "a PyTorch archive with one data.pkl",
                    match first {
                        Some(_) => "several".to_string(),
                        None => "none".to_string(),
                    },
                ))
            }
        };
        drop(folders);
        Ok(Self {
            zip,
            folder,
            len,
            name,
        })
    }

    /// The name of a record for messages.
    pub fn place(&self, record: &str) -> String {
        format!("{}: {}{record}", self.name, self.folder)
    }

    pub fn malformed(&self, record: &str, expected: impl ToString, got: impl ToString) -> Error {
        super::malformed(&self.place(record), expected, got)
    }

    /// Reads a whole record, or gives `None` when there is none of that name.
    pub fn read(&mut self, record: &str) -> Result<Option<Vec<u8>>, Error> {
        let name = format!("{}{record}", self.folder);
        let Some(index) = self.zip.index_for_name(&name) else {
            return Ok(None);
        };
        let place = self.place(record);
        let malformed = |expected: &str, got: String| super::malformed(&place, expected, got);
        let len = self.len;
        let file = self
            .zip
            .by_index(index)
            .map_err(|e| malformed("a readable record", e.to_string()))?;
        let size = file.size();
        if file.compression() != CompressionMethod::Stored || file.compressed_size() != size {
            return Err(malformed(
                "a record stored as it is, as PyTorch does",
                format!("{} of {size} bytes", file.compression()),
            ));
        }
        let capacity = usize::try_from(size).ok().filter(|_| size <= len);
        let Some(capacity) = capacity else {
            return Err(malformed(
                "a record within the file",
                format!("{size} bytes in a file of {len}"),
            ));
        };
        let mut bytes = Vec::with_capacity(capacity);
        // To its end, where the checksum is compared.
        file.take(size.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|e| malformed("a readable record", e.to_string()))?;
        if bytes.len() as u64 != size {
            return Err(malformed(&format!("{size} bytes"), bytes.len().to_string()));
        }
        Ok(Some(bytes))
    }

    /// Fails for an archive of a big-endian machine. Old versions do not say, and were little-endian.
    pub fn check_byte_order(&mut self) -> Result<(), Error> {
        match self.read("byteorder")?.as_deref() {
            None | Some(b"little") => Ok(()),
            Some(other) => {
                let shown = quoted(&String::from_utf8_lossy(other));
                Err(self.malformed("byteorder", "little", shown))
            }
        }
    }
}
