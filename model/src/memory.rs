//! A table of distinct values: from identities to numbers.
//!
//! A situation of the group is a short list of numbers, because its peers, its messages and its
//! ledger are kept here and shared by all situations that contain them. This lets millions of
//! situations fit into memory (SPIN calls it collapse compression), and a peer's answer to an input
//! has to be computed only once.

use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasherDefault, Hasher};

/// Values by number.
#[derive(Debug)]
pub(crate) struct Memory<T> {
    values: Vec<T>,
    numbers: HashMap<u128, u32, Trusting>,
}

impl<T> Memory<T> {
    pub(crate) fn new() -> Self {
        Self { values: Vec::new(), numbers: HashMap::default() }
    }

    /// The number of the value with that identity, which is created if it is new.
    pub(crate) fn number(&mut self, identity: u128, value: impl FnOnce() -> T) -> u32 {
        *self.numbers.entry(identity).or_insert_with(|| {
            let number =
                u32::try_from(self.values.len()).expect("memory ends long before the numbers do");
            self.values.push(value());
            number
        })
    }

    pub(crate) fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

/// The memory of this process in bytes; none if the system does not tell.
pub(crate) fn resident() -> Option<u64> {
    kib(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The available memory of the machine in bytes; none if the system does not tell.
#[must_use]
pub fn available() -> Option<u64> {
    kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// Identities are uniformly distributed, so hashing them again gains nothing.
pub(crate) type Trusting = BuildHasherDefault<Passing>;

/// Uses an identity as its own hash, and mixes small numbers quickly.
#[derive(Debug, Default)]
pub(crate) struct Passing(u64);

impl Hasher for Passing {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(26) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_u128(&mut self, identity: u128) {
        self.0 = (identity ^ identity >> 64) as u64;
    }
}
