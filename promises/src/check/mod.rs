//! The checks behind the promises, by noun. Each is a walk over the index, and writes what it saw into a sheet.

pub(crate) mod leadership;
