//! Reads a pickle's bytes; whatever goes past their end is an error that says where.

use crate::models::checkpoint::error::malformed;
use crate::Error;

pub(super) struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
    source_name: &'a str,
}

impl<'a> Bytes<'a> {
    pub fn new(all: &'a [u8], source_name: &'a str) -> Self {
        Self {
            all,
            at: 0,
            source_name,
        }
    }

    pub fn remaining(&self) -> usize {
        self.all.len().saturating_sub(self.at)
    }

    /// An error at the present place.
    pub fn wrong(&self, expected: impl ToString, got: impl ToString) -> Error {
        malformed(
            &format!("{}, byte {}", self.source_name, self.at),
            expected,
            got,
        )
    }

    /// The next `count` bytes. They are there: nothing is allocated.
    pub fn take(&mut self, count: u64) -> Result<&'a [u8], Error> {
        let taken = usize::try_from(count)
            .ok()
            .and_then(|count| self.at.checked_add(count))
            .and_then(|end| Some((self.all.get(self.at..end)?, end)));
        match taken {
            Some((bytes, end)) => {
                self.at = end;
                Ok(bytes)
            }
            None => Err(self.wrong(
                format!("{count} more bytes"),
                format!("{} until the end", self.remaining()),
            )),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = self.take(N as u64)?;
        bytes
            .try_into()
            .map_err(|_| self.wrong(format!("{N} bytes"), "fewer"))
    }

    pub fn u8(&mut self) -> Result<u8, Error> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, Error> {
        self.array().map(i32::from_le_bytes)
    }

    /// `count` bytes of UTF-8.
    pub fn text(&mut self, count: u64) -> Result<&'a str, Error> {
        let bytes = self.take(count)?;
        std::str::from_utf8(bytes).map_err(|e| self.wrong("UTF-8 text", e))
    }

    /// UTF-8 up to the next line feed, which is taken but not returned.
    pub fn line(&mut self) -> Result<&'a str, Error> {
        let rest = self.all.get(self.at..).unwrap_or_default();
        match rest.iter().position(|&byte| byte == b'\n') {
            Some(length) => {
                let line = self.text(length as u64)?;
                self.take(1)?;
                Ok(line)
            }
            None => Err(self.wrong("a line", "no line feed until the end")),
        }
    }

    /// A two's complement integer of `count` bytes, `None` when it has more than 64 bits.
    pub fn integer(&mut self, count: u64) -> Result<Option<i64>, Error> {
        let bytes = self.take(count)?;
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        match wide.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Ok(Some(i64::from_le_bytes(wide)))
            }
            None => Ok(None),
        }
    }
}
