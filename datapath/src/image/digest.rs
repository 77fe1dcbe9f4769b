//! A short name for a long text.

use std::fmt;

use super::Image;

/// A digest in the making (FNV-1a, 64 bits): tells contents apart, and is no proof against somebody who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Takes more bytes in.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.feed(text.as_bytes());
        Ok(())
    }
}

/// Sixteen hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Image {
    /// The digest of its text: of everything that decides, the generation included.
    pub fn digest(&self) -> Digest {
        use fmt::Write as _;
        let mut digest = Digest::default();
        // why: the writer above does not fail, nor do the numbers and names that are written
        let _written = write!(digest, "{self}");
        digest
    }
}
