//! The digests CHAP may use (RFC 7143 12.1.3, and the numbers IANA gave the PPP algorithms).

use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use sha3::Sha3_256;

/// A CHAP algorithm (key CHAP_A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha3_256,
}

/// The result of a hash: as many bytes as the algorithm gives.
#[derive(Clone, Copy, Debug)]
pub struct Digest {
    bytes: [u8; 32],
    length: usize,
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Algorithm {
    /// The algorithm with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            5 => Some(Algorithm::Md5),
            6 => Some(Algorithm::Sha1),
            7 => Some(Algorithm::Sha256),
            8 => Some(Algorithm::Sha3_256),
            _ => None,
        }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Algorithm::Md5 => 5,
            Algorithm::Sha1 => 6,
            Algorithm::Sha256 => 7,
            Algorithm::Sha3_256 => 8,
        }
    }

    /// Length of its digests in bytes.
    pub const fn length(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 | Algorithm::Sha3_256 => 32,
        }
    }

    /// The digest of `parts`, one behind the other.
    pub fn digest(self, parts: &[&[u8]]) -> Digest {
        match self {
            Algorithm::Md5 => run::<Md5>(parts),
            Algorithm::Sha1 => run::<Sha1>(parts),
            Algorithm::Sha256 => run::<Sha256>(parts),
            Algorithm::Sha3_256 => run::<Sha3_256>(parts),
        }
    }
}

fn run<H: sha3::digest::Digest>(parts: &[&[u8]]) -> Digest {
    let mut hash = H::new();
    for part in parts {
        hash.update(part);
    }
    let output = hash.finalize();
    let mut digest = Digest { bytes: [0; 32], length: output.len() };
    digest.bytes[..output.len()].copy_from_slice(&output);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::text::{Encoding, encode_binary};

    /// Computed with another implementation: H(0x17 | "a secret of 16+ bytes" | 00 01 .. 1f).
    const VECTORS: [(u64, &str); 4] = [
        (5, "0xbfbe201cbad014caf81a5eb857050dc1"),
        (6, "0x8da43358c3a0b5912d329f2f7680476bf20985f4"),
        (7, "0xc98f4c2f74125448a4f58734f923e06d7f6e01f3d37ecb923526a24a1c8fdadd"),
        (8, "0x0d6a5f36b17f4088a61715ce356bc416c11571eb47b48d1986283845d9d2eaf5"),
    ];

    #[test]
    fn rfc7143_12_1_3_known_answers() {
        let challenge: Vec<u8> = (0..32).collect();
        for (number, expected) in VECTORS {
            let algorithm = Algorithm::from_number(number).unwrap();
            let digest = algorithm.digest(&[&[0x17], b"a secret of 16+ bytes", &challenge]);
            assert_eq!(encode_binary(digest.as_ref(), Encoding::Hex), expected);
            assert_eq!(digest.as_ref().len(), algorithm.length());
            assert_eq!(u64::from(algorithm.number()), number);
        }
        for unknown in [0, 4, 9, 56] {
            assert_eq!(Algorithm::from_number(unknown), None);
        }
    }
}
